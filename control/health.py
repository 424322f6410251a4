"""Availability: what the traces, the probes and the workers' breakers say about both sides.

Everything that counts is read from the store in order of time, so a restart counts it again and
ends where it was. Nothing here looks at a score.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from control.outages import Outages
from control.override import live_workers
from control.snapshot_file import read_acknowledgement
from router.events import Health
from router.guard import AvailabilityGuard
from router.policy import GuardPolicy
from router.snapshot import Acknowledgement
from router.state import Rollout
from traces.store import Store

#: a student's answer later than this many teacher p95s is slow, unless the policy has an SLO
_SLOW_FACTOR = 1.5
#: the teacher's p95 moves only by more than this, or every request would make a new snapshot
_P95_MOVES = 0.25
_P95_MIN_REQUESTS = 20


class _Sent(msgspec.Struct, frozen=True, kw_only=True):
    ts_us: int
    failed: bool
    #: the caller got the student's answer
    served: bool
    ms: float | None


class _Run(msgspec.Struct, frozen=True, kw_only=True):
    ts_us: int
    failed: bool


class _P95(msgspec.Struct, frozen=True, kw_only=True):
    ms: float | None
    n: int


class _Count(msgspec.Struct, frozen=True, kw_only=True):
    n: int


class StudentWatch:
    """Everything that was sent to one student, counted once, in order of time."""

    def __init__(self, route: str, student: str, policy: GuardPolicy, *, chunk: int) -> None:
        self.route = route
        self.student = student
        self.outages = Outages()
        self.sent = 0
        self.failed = 0
        #: requests that it answered since `_entered`
        self.served = 0
        self._entered: float | None = None
        self._chunk = chunk
        self._guard = AvailabilityGuard(policy)
        self._policy = policy
        self._read_to_us = 0
        #: of the last failure, silent probe or open breaker, Unix seconds
        self._last_bad = 0.0

    def read(self, store: Store, rollout: Rollout, *, through: float, p95_ms: float | None) -> None:
        """Count what was sent up to ``through``."""
        self._guard.follow(rollout.availability_from)
        slow_ms = self._policy.latency_slo_ms
        if slow_ms is None and p95_ms is not None:
            slow_ms = _SLOW_FACTOR * p95_ms
        through_us = round(through * 1e6)
        while True:
            rows = store.all(
                "sent_to_student",
                _Sent,
                route=self.route,
                student=self.student,
                after_us=self._read_to_us,
                through_us=through_us,
                at_most=self._chunk,
            )
            whole = _whole(rows) if len(rows) == self._chunk else rows
            self._count(whole, slow_ms)
            if whole is rows:
                break
            self._read_to_us = whole[-1].ts_us
        self._read_to_us = max(self._read_to_us, through_us)
        if rollout.entered != self._entered:
            self._enter(store, rollout.entered)

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

    def _count(self, rows: Sequence[_Sent], slow_ms: float | None) -> None:
        for row in rows:
            ts = row.ts_us / 1e6
            slow = slow_ms is not None and row.ms is not None and row.ms > slow_ms
            self._guard.add(ts, failed=row.failed, slow=slow and not row.failed)
            self.outages = self.outages.observe(ts=ts, failed=row.failed)
            self.sent += 1
            self.failed += row.failed
            # What is older than the stage comes too late to count for it.
            self.served += row.served and self._entered is not None and ts >= self._entered
            if row.failed:
                self._last_bad = max(self._last_bad, ts)

    def health(
        self,
        *,
        breakers_open_since: float | None,
        silent: tuple[float, str] | None,
        now: float,
    ) -> Health:
        """What the router's decisions need. ``silent``: since when no probe is answered, and why.

        A restart takes seconds and is no fault: an endpoint is gone when it has been silent for as
        long as open breakers must be.
        """
        bad = silent is not None or breakers_open_since is not None
        gone = silent is not None and now - silent[0] >= self._policy.breakers_open_s
        if bad:
            self._last_bad = now
        return Health(
            sent=self.sent,
            failed=self.failed,
            served=self.served,
            availability=self._guard.verdict(),
            breakers_open_since=breakers_open_since,
            unreachable=silent[1] if silent and gone else None,
            healthy_since=None if bad else self._last_bad,
        )


class TeacherWatch:
    """A route's teacher: its outages and its usual latency."""

    def __init__(self, route: str) -> None:
        self.outages = Outages()
        #: None: not measured yet
        self.p95_ms: float | None = None
        self._route = route
        self._read_to_us = 0

    def read(self, store: Store, *, through: float) -> None:
        """Take in what happened up to ``through``."""
        through_us = round(through * 1e6)
        runs = store.all(
            "teacher_runs",
            _Run,
            route=self._route,
            after_us=self._read_to_us,
            through_us=through_us,
        )
        for run in runs:
            self.outages = self.outages.observe(ts=run.ts_us / 1e6, failed=run.failed)
        self._read_to_us = max(self._read_to_us, through_us)
        measured = store.one("teacher_p95", _P95, route=self._route)
        if measured is None or measured.ms is None or measured.n < _P95_MIN_REQUESTS:
            return
        if self.p95_ms is None or abs(measured.ms - self.p95_ms) > _P95_MOVES * self.p95_ms:
            self.p95_ms = measured.ms


class HealthWatch:
    """Watches all students and teachers. `read` first, then `of`.

    ``chunk``: rows that are in memory at a time, as a restart reads everything again.
    """

    def __init__(self, store: Store, acknowledgements: Path, *, chunk: int = 50_000) -> None:
        self._store = store
        self._chunk = chunk
        self._acknowledgements = acknowledgements
        self._students: dict[tuple[str, str], StudentWatch] = {}
        self._teachers: dict[str, TeacherWatch] = {}
        #: upstream that does not answer its probe -> since when, and why
        self._silent: dict[str, tuple[float, str]] = {}

    def probed(self, upstream: str, problem: str | None, *, now: float) -> None:
        """Take in one probe of an upstream; ``problem``: None, it answered."""
        if problem is None:
            self._silent.pop(upstream, None)
        else:
            since, _ = self._silent.get(upstream, (now, problem))
            self._silent[upstream] = (since, problem)

    def teacher(self, route: str) -> TeacherWatch:
        """The watch of a route's teacher."""
        if route not in self._teachers:
            self._teachers[route] = TeacherWatch(route)
        return self._teachers[route]

    def student(self, route: str, rollout: Rollout, policy: GuardPolicy) -> StudentWatch:
        """The watch of a student."""
        key = (route, rollout.student)
        if key not in self._students:
            self._students[key] = StudentWatch(route, rollout.student, policy, chunk=self._chunk)
        return self._students[key]

    def read(
        self, route: str, rollouts: Sequence[Rollout], policy: GuardPolicy, *, through: float
    ) -> None:
        """Take in everything about one route up to ``through``."""
        teacher = self.teacher(route)
        teacher.read(self._store, through=through)
        for rollout in rollouts:
            self.student(route, rollout, policy).read(
                self._store, rollout, through=through, p95_ms=teacher.p95_ms
            )

    def of(self, route: str, rollout: Rollout, policy: GuardPolicy, *, upstream: str) -> Health:
        """The health of one student now. ``upstream``: the name of the server that answers it."""
        return self.student(route, rollout, policy).health(
            breakers_open_since=breakers_open_since(
                acknowledgements(self._acknowledgements), f"{route}/{rollout.student}"
            ),
            silent=self._silent.get(upstream),
            now=time.time(),
        )


def _whole(rows: Sequence[_Sent]) -> Sequence[_Sent]:
    """Without the last moment, of which a limit may have cut some."""
    return [row for row in rows if row.ts_us != rows[-1].ts_us]


def acknowledgements(folder: Path) -> dict[str, Acknowledgement]:
    """What each live worker obeys; one that has not written yet is left out."""
    found = {}
    for worker, path in live_workers(folder):
        said = read_acknowledgement(path)
        if said is not None:
            found[worker] = said
    return found


def breakers_open_since(workers: Mapping[str, Acknowledgement], student: str) -> float | None:
    """Since when the breaker is open in every live worker; None: some worker still asks."""
    since = [said.breakers.get(student) for said in workers.values()]
    known = [moment for moment in since if moment is not None]
    return max(known) if known and len(known) == len(since) else None
