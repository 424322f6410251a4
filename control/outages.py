"""When one side of a route was out: cut by failures, never by scores. Pure.

A run of failures is an outage from its first failure to the success that ends it. Pairs of its
span are no evidence, those of survivors included (rollout decision 0007).
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

#: failures in a row, as for the gateway's circuit breaker
RUN = 5
#: windows that are remembered
_KEPT = 200


class Window(NamedTuple):
    """An outage; both ends are Unix seconds."""

    start: float
    end: float


class Outages(msgspec.Struct, frozen=True, kw_only=True):
    """The outages of one side so far."""

    #: failures since the last success
    failures: int = 0
    #: first failure of the present run, Unix seconds
    since: float | None = None
    #: outages that are over, oldest first
    windows: tuple[Window, ...] = ()

    @property
    def out(self) -> bool:
        """The side is out at present."""
        return self.failures >= RUN

    def observe(self, *, ts: float, failed: bool) -> Outages:
        """The state after one more request, in order of time."""
        if failed:
            since = ts if self.since is None else self.since
            return msgspec.structs.replace(self, failures=self.failures + 1, since=since)
        windows = self.windows
        if self.out and self.since is not None:
            windows = (*windows, Window(self.since, ts))[-_KEPT:]
        return Outages(windows=windows)

    def covers(self, ts: float) -> bool:
        """``ts`` lies in an outage that is over, or in the one that is not."""
        if self.out and self.since is not None and ts >= self.since:
            return True
        return any(window.start <= ts <= window.end for window in self.windows)

    @property
    def settled_to(self) -> float:
        """Up to this moment it is decided what was an outage, Unix seconds."""
        return float("inf") if self.since is None or self.out else self.since
