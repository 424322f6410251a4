"""What the router's decisions look at, gathered: health, hashes, artefacts, addresses, prices."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from control.candidates import Candidate, Endpoint
from control.compile import RouteState, Share, student_target, teacher_target
from control.config.values import Config, Price, RouteConfig
from control.freezes import Freezes
from control.health import HealthWatch
from control.layout import Layout
from control.measure import Measure
from control.program_versions import ProgramVersions
from control.rollouts import Rollouts
from distiller.artefact import ArtefactError
from distiller.student import STUDENT_FILE, Student, read_student, student_folder
from router.events import Facts, Hashes
from router.forms import bar_text
from router.snapshot import Snapshot, Upstream
from router.stages import SERVING, Stage
from router.state import Rollout, weights

#: stages in which a student is asked for evidence
_EVALUATED = frozenset({Stage.SHADOW, Stage.READY, *SERVING, Stage.HELD})


class FactFinder:
    """Gathers; decides nothing. ``snapshot`` gives the one in force, for its upstreams."""

    def __init__(
        self,
        config: Config,
        layout: Layout,
        *,
        rollouts: Rollouts,
        health: HealthWatch,
        programs: ProgramVersions,
        measures: Mapping[str, Measure],
        snapshot: Callable[[], Snapshot],
        freezes: Freezes,
        started: float,
    ) -> None:
        self._config = config
        self._layout = layout
        self._rollouts = rollouts
        self._health = health
        self._programs = programs
        self._measures = measures
        self._snapshot = snapshot
        self._freezes = freezes
        self._started = started
        #: students never change, so reading one once is enough
        self._students: dict[tuple[str, str], Student] = {}

    def facts(self, route: RouteConfig, rollout: Rollout, *, report: str | None) -> Facts:
        """The world around one student now. ``report``: hash of the current one."""
        upstream = student_target(route, rollout.student).upstream
        return Facts(
            health=self._health.of(route.name, rollout, route.policy.guard, upstream=upstream),
            hashes=self.hashes(route, rollout.student, before=rollout.hashes),
            report=report,
            freeze=self._freezes.of(route),
            lost=self.lost(route.name, rollout.student),
            capacity=self._capacity(route.name),
            control_started=self._started,
        )

    def hashes(self, route: RouteConfig, student: str, *, before: Hashes | None = None) -> Hashes:
        """What a decision is made under. A version that is not known yet is taken as unchanged."""
        version = self._programs.version(route.name)
        teacher = f"{route.lm.upstream}/{route.lm.model} {version}"
        if not version and before is not None:
            teacher = before.teacher
        measure = self._measures.get(route.name)
        made = self.student(route.name, student)
        return Hashes(
            config=self._config.hash,
            teacher=teacher,
            student=made.artefact_sha256 if made else "",
            metric=measure.metric_hash if measure else "",
            bar=bar_text(route.policy.gate),
        )

    def student(self, route: str, student: str) -> Student | None:
        """A published student; None if it can't be read."""
        key = (route, student)
        if key not in self._students:
            try:
                folder = student_folder(self._layout.students, route, student)
                self._students[key] = read_student(folder)
            except ArtefactError:
                return None
        return self._students[key]

    def lost(self, route: str, student: str) -> str | None:
        """Why a student's artefact is gone for good; None: it is there."""
        folder = student_folder(self._layout.students, route, student)
        # Missing is lost; what can't be read just now (a full descriptor table) is not.
        if not folder.exists() or not (folder / STUDENT_FILE).exists():
            return f"{folder} is not there any more"
        return None

    def candidates(self) -> tuple[Candidate, ...]:
        """Whoever gathers evidence now; nobody on a killed route."""
        found = []
        for route in self._config.routes.values():
            state = self._rollouts.of(route.name)
            if state.killed:
                continue
            for rollout in state.rollouts:
                # Without traffic of its own an unhealthy student is left alone until it is well.
                resting = (
                    rollout.stage not in (*SERVING, Stage.HELD)
                    and rollout.unhealthy_since is not None
                )
                if rollout.stage in _EVALUATED and not resting:
                    found.append(self._candidate(route, rollout))
        return tuple(found)

    def student_upstreams(self) -> dict[str, Upstream]:
        """The servers of all students under evaluation, those that rest included.

        Only a probe can say that a student which is left alone is well again.
        """
        names = {
            student_target(route, rollout.student).upstream
            for route in self._config.routes.values()
            for rollout in self._rollouts.of(route.name).rollouts
            if rollout.stage in _EVALUATED
        }
        upstreams = self._snapshot().upstreams
        return {name: upstreams[name] for name in sorted(names)}

    def endpoint(self, route: RouteConfig, student: str) -> Endpoint:
        """Where a student answers."""
        target = student_target(route, student)
        upstream = self._snapshot().upstreams[target.upstream]
        return Endpoint(upstream=upstream, target=target, price=route.student_price)

    def teacher_price(self, route: RouteConfig) -> Price | None:
        """What the teacher costs; None: unknown, which is never 0."""
        return self._config.upstreams[route.lm.upstream].prices.get(route.lm.model)

    def teacher_p95_ms(self, route: str) -> float | None:
        """The teacher's usual latency; None: not measured yet."""
        return self._health.teacher(route).p95_ms

    def route_states(self, watched: Mapping[str, float]) -> dict[str, RouteState]:
        """What the snapshot says beyond the configuration, leases included.

        ``watched``: route -> until when its students were guarded (Unix seconds); leases run from
        there.
        """
        return {
            name: self._route_state(route, watched.get(name, 0.0))
            for name, route in self._config.routes.items()
        }

    def _route_state(self, route: RouteConfig, watched: float) -> RouteState:
        measure = self._measures.get(route.name)
        p95_ms = self._health.teacher(route.name).p95_ms
        lines = weights(self._rollouts.of(route.name), route.policy.rollout)
        if measure is None:
            # A student that nothing scores is a student that nobody guards.
            lines = tuple(msgspec.structs.replace(line, weight=0.0) for line in lines)
        return RouteState(
            shares=tuple(
                Share(
                    student=line.student,
                    stage=line.stage.value,
                    weight=line.weight,
                    valid_until=watched + line.lease_s if line.weight > 0 else None,
                )
                for line in lines
            ),
            teacher_p95_s=None if p95_ms is None else p95_ms / 1000,
            program_version=self._programs.version(route.name),
            metric_hash=measure.metric_hash if measure else "",
        )

    def _candidate(self, route: RouteConfig, rollout: Rollout) -> Candidate:
        made = self.student(route.name, rollout.student)
        measure = self._measures.get(route.name)
        target = teacher_target(route)
        return Candidate(
            config=route,
            student=rollout.student,
            k=rollout.k,
            stage=rollout.stage,
            metric_hash=measure.metric_hash if measure else "",
            since=max(rollout.marks.since, made.cutoff if made else 0.0),
            on_student=self.endpoint(route, rollout.student),
            on_teacher=Endpoint(
                upstream=self._snapshot().upstreams[target.upstream],
                target=target,
                price=self.teacher_price(route),
            ),
        )

    def _capacity(self, route: str) -> str | None:
        outages = self._health.teacher(route).outages
        if outages.out:
            return f"{outages.failures} of its latest requests have failed"
        return None
