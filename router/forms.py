"""The three forms of the bar, with the bounds that their bets need.

======== =========== ============== ================= ===================
kind     bar         D              b of the gate     b of futility, guard
======== =========== ============== ================= ===================
ratio    retention R S - R * T      R                 1
absolute min_score m S - m          m                 1 - m
margin   margin d    S - T + d      1 - d             1 + d
======== =========== ============== ================= ===================
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from router.errors import EvidenceError
from router.policy import GatePolicy

Kind = Literal["retention", "min_score", "margin"]

#: Bars are proved in steps of this size.
STEP = 0.005
#: A warning bar nearer than this to the bar itself is no use.
_WARN_GAP = 0.01
_NEAR = 1e-9


class Form(msgspec.Struct, frozen=True):
    """One bar that the student must reach."""

    kind: Kind
    bar: float

    def __post_init__(self) -> None:
        lowest, highest = {
            "retention": (0.0, 2.0),
            "min_score": (0.0, 1.0),
            "margin": (-_NEAR, 1.0),
        }[self.kind]
        if not (math.isfinite(self.bar) and lowest < self.bar < highest):
            raise EvidenceError(f"{self.kind} = {self.bar} must lie between {lowest} and {highest}")

    def difference(self, student: float, teacher: float) -> float:
        """Return D: positive where the student is above the bar."""
        if self.kind == "retention":
            return student - self.bar * teacher
        if self.kind == "min_score":
            return student - self.bar
        return student - teacher + self.bar

    @property
    def gate_bound(self) -> float:
        """The b of D >= -b."""
        return 1.0 - self.bar if self.kind == "margin" else self.bar

    @property
    def guard_bound(self) -> float:
        """The b of -D >= -b, for futility and guards; also the largest D."""
        if self.kind == "retention":
            return 1.0
        return 1.0 - self.bar if self.kind == "min_score" else 1.0 + self.bar

    def at(self, bar: float) -> Form:
        """Return the same form with another bar."""
        return Form(self.kind, bar)

    def grid(self) -> tuple[float, ...]:
        """Bars to prove one after the other, from loose to strict."""
        if self.kind == "margin":
            return tuple(round(0.5 - STEP * i, 3) for i in range(101))
        count = 121 if self.kind == "retention" else 100
        return tuple(round(0.5 + STEP * i, 3) for i in range(count))

    @property
    def warn_cap(self) -> float:
        """The strictest warning bar: half way to the teacher (to a perfect score)."""
        return self.bar / 2 if self.kind == "margin" else (1.0 + self.bar) / 2

    def warn_bars(self) -> tuple[float, ...]:
        """Bars that a warning detector may use once they are proved, from loose to strict.

        Ends with the first bar of the grid that is at least as strict as `warn_cap`.
        """
        sign = -1.0 if self.kind == "margin" else 1.0
        least = sign * self.bar + _WARN_GAP
        if sign * self.warn_cap < least - _NEAR:
            return ()
        bars: list[float] = []
        for bar in self.grid():
            if sign * bar >= least - _NEAR:
                bars.append(bar)
                if sign * bar >= sign * self.warn_cap - _NEAR:
                    break
        return tuple(bars)

    def capped(self, bar: float) -> float:
        """Return ``bar``, or `warn_cap` where that is looser."""
        return max(bar, self.warn_cap) if self.kind == "margin" else min(bar, self.warn_cap)

    def says(self, bar: float) -> str:
        """Say in words what reaching ``bar`` means."""
        if self.kind == "retention":
            return f"student >= {bar:.3f} x teacher"
        if self.kind == "min_score":
            return f"student >= {bar:.3f}"
        return f"student >= teacher - {bar:.3f}"


def forms_of(policy: GatePolicy) -> tuple[Form, ...]:
    """Return every bar that the policy sets; all of them must be passed."""
    values: tuple[tuple[Kind, float | None], ...] = (
        ("retention", policy.retention),
        ("min_score", policy.min_score),
        ("margin", policy.margin),
    )
    forms = tuple(Form(kind, bar) for kind, bar in values if bar is not None)
    if not forms:
        raise EvidenceError("the gate has no bar: set retention, min_score or margin")
    return forms


def bar_text(policy: GatePolicy) -> str:
    """Name the bar in one line; another text means fresh evidence."""
    return "; ".join(f"{form.kind}={form.bar!r}" for form in forms_of(policy))
