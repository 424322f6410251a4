"""A decided pair as the store has it, and whether a side was out when it was asked."""

from __future__ import annotations

import msgspec

from control.outages import Outages
from router.pairs import Kind


class StoredPair(msgspec.Struct, frozen=True, kw_only=True):
    """A decided pair, as the store has it."""

    trace_id: str
    ts_us: int
    #: the side that did not serve was asked; None: it is not known
    replayed_us: int | None = None
    kind: str
    outcome: str
    metric_hash: str | None
    teacher_score: float | None
    student_score: float | None
    control_score: float | None
    pair_weight: float
    propensity: float
    coverage: str | None
    cluster: str | None
    seq: int | None = None

    @property
    def ts(self) -> float:
        """When the request came, Unix seconds."""
        return self.ts_us / 1e6

    @property
    def student_asked(self) -> float:
        """When the student was asked, Unix seconds: at the request, or at the replay."""
        return self._replayed if self.kind == Kind.SHADOW else self.ts

    @property
    def teacher_asked(self) -> float:
        """When the teacher was asked, Unix seconds: at the request, or at the replay."""
        return self.ts if self.kind == Kind.SHADOW else self._replayed

    @property
    def _replayed(self) -> float:
        return self.ts if self.replayed_us is None else self.replayed_us / 1e6


class Sides(msgspec.Struct, frozen=True, kw_only=True):
    """The outages of both sides, and up to when they are known."""

    student: Outages = Outages()
    teacher: Outages = Outages()
    #: Unix seconds
    known_to: float

    def out(self, pair: StoredPair) -> bool | None:
        """Whether either side was out when it was asked; None: that is not decided yet."""
        if max(pair.student_asked, pair.teacher_asked) > self.known_to:
            return None
        found = (
            self.student.covers(pair.student_asked),
            self.teacher.covers(pair.teacher_asked),
        )
        if True in found:
            return True
        return None if None in found else False
