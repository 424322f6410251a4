"""Availability of one student: everything that was sent to it, counted once, in order of time.

What happened is read by the time at which it ended, so one request that takes minutes hides no
failure of the others. A restart reads it again and ends where it was, but for two things: answers
from before the start are not held against the latency limit, as the teacher's latency of their time
is gone; and of a long history only the newest part is read request by request. The detectors begin
with that part, which takes nothing from what it says by itself; of the rest there are counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from control.outages import Outages
from router.events import Health
from router.guard import AvailabilityGuard
from router.policy import GuardPolicy
from router.state import Rollout
from traces.store import Store

#: a student's answer later than this many teacher p95s is slow, unless the policy has an SLO
_SLOW_FACTOR = 1.5
#: a start reads so many chunks request by request, and what is older only if pairs wait for it
_CHUNKS = 2
#: an outage that pairs lie in may have begun so long before them, seconds
_BEFORE_PAIRS_S = 3_600.0
_HOUR_US = 3_600_000_000


class _Sent(msgspec.Struct, frozen=True, kw_only=True):
    began_us: int
    #: the student's part was over
    ended_us: int
    #: the whole request was over, and so in the log
    known_us: int
    failed: bool
    #: the caller got the student's answer
    served: bool
    ms: float | None


class _Hour(msgspec.Struct, frozen=True, kw_only=True):
    hour_us: int
    began_us: int
    n: int
    failed: int
    last_failure_us: int


class _Pair(msgspec.Struct, frozen=True, kw_only=True):
    #: None: there is no pair
    ts_us: int | None


class _Count(msgspec.Struct, frozen=True, kw_only=True):
    n: int


class StudentWatch:
    """Counts for one student of one route.

    ``started``: when control started (Unix seconds). ``chunk``: rows in memory at a time.
    """

    def __init__(
        self, route: str, student: str, policy: GuardPolicy, *, started: float, chunk: int
    ) -> None:
        self.route = route
        self.student = student
        self.outages = Outages()
        self.sent = 0
        self.failed = 0
        #: requests that it answered since `_entered`
        self.served = 0
        self._entered: float | None = None
        self._started = started
        self._chunk = chunk
        self._guard = AvailabilityGuard(policy)
        self._policy = policy
        self._begun = False
        self._read_to_us = 0
        #: beginnings and ends of faults that the outages know
        self._marked: set[tuple[float, bool]] = set()
        #: when a request failed last, Unix seconds
        self._last_failure = 0.0

    @property
    def read_to(self) -> float:
        """All that ended up to this moment (Unix seconds) is counted."""
        return self._read_to_us / 1e6

    def read(
        self, store: Store, rollout: Rollout, *, to: float, longest_s: float, p95_ms: float | None
    ) -> None:
        """Count what ended up to ``to`` (Unix seconds).

        ``longest_s``: no request takes longer.
        """
        self._guard.follow(rollout.availability_from)
        to_us = round(to * 1e6)
        if not self._begun:
            self._begin(store, rollout, to_us)
        slow_ms = self._policy.latency_slo_ms
        if slow_ms is None and p95_ms is not None:
            slow_ms = _SLOW_FACTOR * p95_ms
        known = _marks(rollout)
        self._marked &= known
        marks = deque(sorted(known - self._marked))
        while True:
            rows = store.all(
                "sent_to_student",
                _Sent,
                route=self.route,
                student=self.student,
                from_us=self._read_to_us - round(longest_s * 1e6),
                after_us=self._read_to_us,
                through_us=to_us,
                at_most=self._chunk,
            )
            whole = _whole(rows) if len(rows) == self._chunk else rows
            for row in whole:
                self._mark_faults(marks, to=row.known_us / 1e6)
                self._count(row, slow_ms)
            if whole is rows:
                break
            self._read_to_us = whole[-1].known_us
        self._mark_faults(marks, to=to)
        self.outages = self.outages.settled(to)
        self._read_to_us = max(self._read_to_us, to_us)
        if rollout.entered != self._entered:
            self._enter(store, rollout.entered)

    def health(
        self,
        *,
        breakers_open_since: float | None,
        silent: tuple[float, str] | None,
        answers_since: float | None,
        now: float,
    ) -> Health:
        """What the router's decisions need.

        ``silent``: since when no probe is answered, and why. ``answers_since``: when probes were
        answered again; None: none was yet, and who was not asked is not healthy.

        A restart takes seconds and is no fault: an endpoint is gone when it has been silent for as
        long as open breakers must be.
        """
        gone = silent is not None and now - silent[0] >= self._policy.breakers_open_s
        healthy_since = None
        if silent is None and answers_since is not None:
            healthy_since = max(answers_since, self._last_failure)
        return Health(
            sent=self.sent,
            failed=self.failed,
            served=self.served,
            availability=self._guard.verdict(),
            breakers_open_since=breakers_open_since,
            unreachable=silent[1] if silent and gone else None,
            healthy_since=healthy_since,
            known_to=self.read_to,
        )

    def _begin(self, store: Store, rollout: Rollout, to_us: int) -> None:
        """Take what lies too far back to be read request by request as counts.

        A history of years would hold up every decision for minutes, at each start.
        """
        self._begun = True
        who = {"route": self.route, "student": self.student}
        hours = store.all("sent_by_hour", _Hour, **who, through_us=to_us)
        pair = store.one("oldest_unconsumed", _Pair, **who, k=rollout.k)
        evidence_us = round(rollout.marks.since * 1e6)
        if pair is not None and pair.ts_us is not None:
            evidence_us = pair.ts_us
        evidence_us -= round(_BEFORE_PAIRS_S * 1e6)
        newest = 0
        while hours and (
            newest < _CHUNKS * self._chunk or hours[-1].hour_us + _HOUR_US > evidence_us
        ):
            newest += hours[-1].n
            self._read_to_us = hours.pop().hour_us - 1
        while hours and hours[-1].hour_us > self._read_to_us:
            hours.pop()
        for hour in hours:
            self._guard.remember(hour.began_us / 1e6, hour.n)
            self.sent += hour.n
            self.failed += hour.failed
            self._last_failure = max(self._last_failure, hour.last_failure_us / 1e6)

    def _enter(self, store: Store, entered: float) -> None:
        """Another stage has begun: from here on its answers are counted."""
        found = store.one(
            "served_in",
            _Count,
            route=self.route,
            student=self.student,
            since_us=round(entered * 1e6),
            through_us=self._read_to_us,
        )
        self.served = found.n if found else 0
        self._entered = entered

    def _count(self, row: _Sent, slow_ms: float | None) -> None:
        began, ended = row.began_us / 1e6, row.ended_us / 1e6
        self.outages = self.outages.settled(row.known_us / 1e6)
        slow = None
        if began >= self._started:
            slow = slow_ms is not None and row.ms is not None and row.ms > slow_ms
        self._guard.add(began, failed=row.failed, slow=slow)
        self.sent += 1
        self.failed += row.failed
        # What is older than the stage comes too late to count for it.
        self.served += row.served and self._entered is not None and began >= self._entered
        if row.failed:
            self.outages = self.outages.failed(began=began, ended=ended)
            self._last_failure = max(self._last_failure, ended)
        else:
            self.outages = self.outages.answered(ended=ended)

    def _mark_faults(self, marks: deque[tuple[float, bool]], *, to: float) -> None:
        """Tell the outages which faults began and ended up to ``to``."""
        while marks and marks[0][0] <= to:
            ts, begins = marks.popleft()
            self._marked.add((ts, begins))
            before = self.outages.settled(ts)
            self.outages = before.fault_began(ts) if begins else before.fault_ended(ts)


def _marks(rollout: Rollout) -> set[tuple[float, bool]]:
    """When the rollout's faults began (True) and ended (False), Unix seconds."""
    marks = {(fault.start, True) for fault in rollout.faults}
    marks |= {(fault.end, False) for fault in rollout.faults}
    if rollout.unhealthy_since is not None:
        marks.add((rollout.unhealthy_since, True))
    return marks


def _whole(rows: Sequence[_Sent]) -> Sequence[_Sent]:
    """Without the last moment, of which a limit may have cut some."""
    return [row for row in rows if row.known_us != rows[-1].known_us]
