"""A route's teacher: its outages and its usual latency."""

from __future__ import annotations

import msgspec

from control.outages import Outages
from traces.store import Store

#: the teacher's p95 moves only by more than this, or every request would make a new snapshot
_P95_MOVES = 0.25
_P95_MIN_REQUESTS = 20


class _Run(msgspec.Struct, frozen=True, kw_only=True):
    began_us: int
    ended_us: int
    failed: bool
    #: in the span, from 1
    place: int


class _P95(msgspec.Struct, frozen=True, kw_only=True):
    ms: float | None
    n: int


class TeacherWatch:
    """Reads what the teacher of one route answered."""

    def __init__(self, route: str) -> None:
        self.outages = Outages()
        #: None: not measured yet
        self.p95_ms: float | None = None
        self._route = route
        self._read_to_us = 0

    @property
    def read_to(self) -> float:
        """All that ended up to this moment (Unix seconds) is known."""
        return self._read_to_us / 1e6

    def read(self, store: Store, *, to: float, longest_s: float) -> None:
        """Take in what ended up to ``to`` (Unix seconds).

        ``longest_s``: no request takes longer.
        """
        to_us = round(to * 1e6)
        runs = store.all(
            "teacher_runs",
            _Run,
            route=self._route,
            from_us=self._read_to_us - round(longest_s * 1e6),
            after_us=self._read_to_us,
            through_us=to_us,
        )
        done = 0
        for run in runs:
            began, ended = run.began_us / 1e6, run.ended_us / 1e6
            self.outages = self.outages.settled(ended)
            # Between two rows there are answers only.
            answers = run.place - done - run.failed
            if answers:
                self.outages = self.outages.answered(ended=ended, n=answers)
            if run.failed:
                self.outages = self.outages.failed(began=began, ended=ended)
            done = run.place
        self.outages = self.outages.settled(to)
        self._read_to_us = max(self._read_to_us, to_us)
        self._measure(store)

    def _measure(self, store: Store) -> None:
        measured = store.one("teacher_p95", _P95, route=self._route)
        if measured is None or measured.ms is None or measured.n < _P95_MIN_REQUESTS:
            return
        if self.p95_ms is None or abs(measured.ms - self.p95_ms) > _P95_MOVES * self.p95_ms:
            self.p95_ms = measured.ms
