"""An e-detector with a memory of its alarm.

The level is the one in force at each outcome. It follows the traffic of the past days, so it may
fall later: a peak that was no alarm then must not become one, and an alarm stays one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from router.bets import QUALITY, Bets, BetsState


class Crossing(NamedTuple):
    """When the detector reached its level."""

    #: outcomes until then
    n: int
    log_value: float
    log_level: float


class Detector:
    """Shiryaev-Roberts detector (`Bets` with ``restart``) of outcomes y >= -b."""

    def __init__(self, b: float, *, fractions: Sequence[float] = QUALITY) -> None:
        self.bets = Bets(b, restart=True, fractions=fractions)
        #: the first time that it reached its level; None: never
        self.alarm: Crossing | None = None

    def update(self, y: float, weight: float = 1.0, *, arl: float) -> None:
        """Take one outcome. ``arl``: mean outcomes to a false alarm, known before ``y``."""
        value, level = self.bets.update(y, weight), math.log(arl)
        if self.alarm is None and value >= level:
            self.alarm = Crossing(self.bets.n, value, level)

    @property
    def n(self) -> int:
        """Outcomes so far."""
        return self.bets.n

    @property
    def log_value(self) -> float | None:
        """Log M when it alarmed, else now; None before the first outcome."""
        if self.alarm is not None:
            return self.alarm.log_value
        return self.bets.log_value if self.bets.n else None

    @classmethod
    def restore(cls, state: BetsState, alarm: Crossing | None) -> Detector:
        """Rebuild from the states of `bets` and `alarm`."""
        detector = cls(state.b, fractions=state.fractions)
        detector.bets = Bets.restore(state)
        detector.alarm = alarm
        return detector
