"""When one side of a route was out or overloaded: cut by failures, never by scores. Pure.

A failure weighs as much as 17 answers (Page's test of a failure rate of 2 % against a few times
that). While failures outweigh the answers behind them, it is open what becomes of them: an
*excursion*. Five failures in a row, or as many among answers as weigh the same, make it an outage,
from the start of its first failure to the first answer behind its last one; answers that outweigh
them make it nothing. Whatever the failure rate, that is decided within 100 requests on average; and
where requests are rare, an hour without another failure decides it, so that no evidence stalls.

A fault of the rollout (an availability alarm) makes an outage of the excursion under way, and it
lasts until the rollout is healthy again. Pairs of an outage are no evidence, those of survivors
included (docs/explanation/evidence.md).
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec.structs import replace

#: answers that outweigh one failure
FAILURE = 17
#: failures in a row that are an outage, as for the gateway's circuit breaker
RUN = 5
_OUT = RUN * FAILURE
#: so long after the last failure nothing is weighed any more, seconds
WEIGHED_S = 3_600.0
#: windows that are remembered
_KEPT = 200


class Window(NamedTuple):
    """An outage; both ends are Unix seconds."""

    start: float
    end: float


class Outages(msgspec.Struct, frozen=True, kw_only=True):
    """The outages of one side so far. What it observes comes in order of time."""

    #: failures of the present excursion, weighed, less the answers behind them; 0: no excursion
    balance: int = 0
    #: failures of the present excursion
    failures: int = 0
    #: start of its first failure, or of the fault; Unix seconds
    since: float | None = None
    #: end of its last failure, Unix seconds
    last: float | None = None
    #: first answer behind its last failure, Unix seconds; None: none yet
    until: float | None = None
    #: the side is out, or was a few answers ago
    out: bool = False
    #: the rollout says that the side is at fault, and will say when it is not
    fault: bool = False
    #: outages that are over, oldest first
    windows: tuple[Window, ...] = ()

    def failed(self, *, began: float, ended: float) -> Outages:
        """The state after a request (from when to when, Unix seconds) that has failed."""
        if self.fault:
            return self
        balance = min(self.balance + FAILURE, _OUT)
        return replace(
            self,
            balance=balance,
            failures=self.failures + 1,
            since=began if self.since is None else min(self.since, began),
            last=ended if self.last is None else max(self.last, ended),
            until=None,
            out=self.out or balance >= _OUT,
        )

    def answered(self, *, ended: float, n: int = 1) -> Outages:
        """The state after ``n`` answers; the first one came at ``ended`` (Unix seconds)."""
        if self.since is None or self.fault:
            return self
        until = ended if self.until is None else self.until
        if n < self.balance:
            return replace(self, balance=self.balance - n, until=until)
        return self._over(until) if self.out else Outages(windows=self.windows)

    def settled(self, now: float) -> Outages:
        """The state at ``now`` (Unix seconds), with nothing new since the last observation.

        An outage without an answer behind it goes on.
        """
        if self.last is None or self.fault or now - self.last < WEIGHED_S:
            return self
        if not self.out:
            return Outages(windows=self.windows)
        return self if self.until is None else self._over(self.until)

    def fault_began(self, ts: float) -> Outages:
        """The state after an availability alarm at ``ts``."""
        since = ts if self.since is None else min(self.since, ts)
        return replace(self, since=since, until=None, out=True, fault=True)

    def fault_ended(self, ts: float) -> Outages:
        """The state after the rollout has become healthy at ``ts``."""
        return self._over(ts) if self.fault else self

    def covers(self, ts: float) -> bool | None:
        """Whether ``ts`` lies in an outage; None: that is not decided yet."""
        if any(window.start <= ts <= window.end for window in self.windows):
            return True
        if self.since is None or ts < self.since:
            return False
        return True if self.out and (self.until is None or ts <= self.until) else None

    def _over(self, ts: float) -> Outages:
        since = ts if self.since is None else self.since
        return Outages(windows=(*self.windows, Window(since, max(since, ts)))[-_KEPT:])
