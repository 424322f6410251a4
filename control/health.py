"""Availability: what the traces, the probes and the workers' breakers say about both sides.

Everything that counts is read from the store in order of time, so a restart counts it again.
Nothing here looks at a score.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from control.override import live_workers
from control.snapshot_file import read_acknowledgement
from control.student_watch import StudentWatch
from control.teacher_watch import TeacherWatch
from router.events import Health
from router.policy import GuardPolicy
from router.snapshot import Acknowledgement
from router.state import Rollout
from traces.store import Store

#: a request may outlast its deadline by that much, seconds: a client that does not read has some
#: seconds more, and clocks move
_OUTLASTS_S = 60.0


class HealthWatch:
    """Watches all students and teachers. `read` first, then `of`.

    ``started``: when control started (Unix seconds). ``chunk``: rows that are in memory at a time,
    as a restart reads the newest ones again.
    """

    def __init__(
        self, store: Store, acknowledgements: Path, *, started: float, chunk: int = 50_000
    ) -> None:
        self._store = store
        self._started = started
        self._chunk = chunk
        self._acknowledgements = acknowledgements
        self._students: dict[tuple[str, str], StudentWatch] = {}
        self._teachers: dict[str, TeacherWatch] = {}
        #: upstream that does not answer its probe -> since when, and why
        self._silent: dict[str, tuple[float, str]] = {}
        #: upstream that does -> since when
        self._answering: dict[str, float] = {}

    def probed(self, upstream: str, problem: str | None, *, now: float) -> None:
        """Take in one probe of an upstream; ``problem``: None, it answered."""
        if problem is None:
            self._silent.pop(upstream, None)
            self._answering.setdefault(upstream, now)
        else:
            self._answering.pop(upstream, None)
            since, _ = self._silent.get(upstream, (now, problem))
            self._silent[upstream] = (since, problem)

    def probing(self, upstreams: Collection[str]) -> None:
        """Forget what probes of all other upstreams said: nobody asks them any more."""
        for known in (self._silent, self._answering):
            for gone in known.keys() - set(upstreams):
                del known[gone]

    def teacher(self, route: str) -> TeacherWatch:
        """The watch of a route's teacher."""
        if route not in self._teachers:
            self._teachers[route] = TeacherWatch(route)
        return self._teachers[route]

    def student(self, route: str, rollout: Rollout, policy: GuardPolicy) -> StudentWatch:
        """The watch of a student."""
        key = (route, rollout.student)
        if key not in self._students:
            self._students[key] = StudentWatch(
                route, rollout.student, policy, started=self._started, chunk=self._chunk
            )
        return self._students[key]

    def read(
        self,
        route: str,
        rollouts: Sequence[Rollout],
        policy: GuardPolicy,
        *,
        to: float,
        deadline_s: float,
    ) -> None:
        """Take in everything about one route that ended up to ``to`` (Unix seconds).

        ``deadline_s``: the route's bound of a whole request.
        """
        longest_s = deadline_s + _OUTLASTS_S
        teacher = self.teacher(route)
        teacher.read(self._store, to=to, longest_s=longest_s)
        for rollout in rollouts:
            self.student(route, rollout, policy).read(
                self._store, rollout, to=to, longest_s=longest_s, p95_ms=teacher.p95_ms
            )

    def of(self, route: str, rollout: Rollout, policy: GuardPolicy, *, upstream: str) -> Health:
        """The health of one student now. ``upstream``: the name of the server that answers it."""
        return self.student(route, rollout, policy).health(
            breakers_open_since=breakers_open_since(
                acknowledgements(self._acknowledgements), f"{route}/{rollout.student}"
            ),
            silent=self._silent.get(upstream),
            answers_since=self._answering.get(upstream),
            now=time.time(),
        )


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
