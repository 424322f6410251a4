"""What a condition of the state table is, and everything that it may look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from router.events import Signal
from router.policy import Policy
from router.state import Rollout, RouteRollouts


@dataclass(frozen=True, kw_only=True)
class View:
    """Everything that a condition may look at."""

    route: RouteRollouts
    #: None before registration
    rollout: Rollout | None
    signal: Signal
    policy: Policy

    @property
    def now(self) -> float:
        """Unix seconds."""
        return self.signal.ts

    @property
    def the(self) -> Rollout:
        """The rollout, where the table says that there is one."""
        assert self.rollout is not None, "a row for an unregistered student asked for its rollout"
        return self.rollout


@dataclass(frozen=True)
class Condition:
    """A named condition of the table."""

    name: str
    #: None: it holds; else why not, in words
    why_not: Callable[[View], str | None]


def duration(seconds: float) -> str:
    """Write a time span for people."""
    for unit, name in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{max(seconds, 0.0):.3g} s"


def short_hash(report: str) -> str:
    """Enough of a report's hash to tell it from others, and to approve it by."""
    return report[:12]
