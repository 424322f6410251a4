"""Control's parts in a folder, without ticks: the test says when what happens."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import fastuuid

from control.collecting import Known
from control.layout import Layout
from control.override import write_override
from control.parts import Parts
from control.secrets import ensure_secrets
from control.snapshot_file import read_snapshot
from router.events import Event, Facts, Signal
from router.rollout import Transition
from router.snapshot import Override, StudentRoute
from router.stages import Stage
from router.state import Rollout
from tests.control.stored import ROUTE, STUDENT, config_of, put_student
from traces.times import from_seconds

AHEAD = time.time() + 1e6
STEP = {"served": 0, "dwell_s": 0}
POLICY = {
    "settle_s": 0, "cool_down_s": 0, "patience": 1e6,
    "steps": {"r1": STEP, "r5": STEP, "r25": STEP, "r50": STEP},
}  # fmt: skip


class World:
    """One folder of one control."""

    def __init__(self, tmp_path: Path, *, routes: tuple[str, ...] = (ROUTE,), **route: Any) -> None:
        self.config = config_of(tmp_path, routes=routes, **({"rollout": POLICY} | route))
        #: the one that the methods below are about
        self.route = ROUTE
        self.layout = Layout(data=tmp_path / "data")
        self.layout.data.mkdir(exist_ok=True)
        self.start()

    def start(self) -> None:
        self.parts = Parts(
            self.config,
            self.layout,
            ensure_secrets(self.layout.secrets),
            {"LIMBECK_INTERNAL_KEY": "inside"},
        )
        self.parts.prepare()

    def stop(self) -> None:
        self.parts.store.close()
        self.parts.log.close()

    def register(self, student: str = STUDENT) -> None:
        put_student(self.layout, student, route=self.route)
        route = self.config.routes[self.route]
        hashes = self.parts.facts.hashes(route, student)
        signal = Signal(
            event=Event.STUDENT_REGISTERED,
            student=student,
            ts=time.time(),
            facts=Facts(hashes=hashes),
        )
        assert isinstance(self.parts.rollouts.signal(self.route, signal, route.policy), Transition)

    def add_pairs(
        self,
        n: int,
        *,
        teacher: float = 1.0,
        student: float = 1.0,
        of: str | None = None,
        outcome: str = "scored",
    ) -> None:
        """Decided pairs of a candidate (the newest), each with an input of its own."""
        rollout = self.rollout if of is None else self.parts.rollouts.of(self.route).get(of)
        assert rollout is not None
        metric_hash = self.parts.measures[self.route].metric_hash
        rows = []
        for number in range(n):
            trace_id = str(fastuuid.uuid7())
            rows.append(
                (
                    self.route, rollout.student, rollout.k, trace_id,
                    from_seconds(time.time() + number * 1e-4), "shadow", None, outcome,
                    metric_hash, teacher, student, 0.0, 1.0, 1.0, "all", trace_id,
                    from_seconds(time.time()), "a", "a", 200, 1.0, 0.0, 1,
                )
            )  # fmt: skip
        self.parts.store.append("pairs", rows)

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.parts.reconciler.reconcile(Known(collected_to=AHEAD))
            self.parts.reports.make_missing()

    def to_stage(self, stage: Stage, *, route: str = ROUTE) -> None:
        """Register, prove, approve, advance; from here on it is about ``route``."""
        self.route = route
        self.register()
        self.add_pairs(200)
        self.tick()
        if stage is Stage.SHADOW:
            return
        assert self.rollout.stage is Stage.READY
        if stage is not Stage.READY:
            report = self.parts.operations.report(self.route, None)
            self.parts.operations.approve(self.route, report=report.sha256, actor="ann", reason="")
        while self.rollout.stage is not stage:
            before = self.rollout.stage
            self.add_pairs(1)
            self.tick()
            assert self.rollout.stage is not before

    @property
    def rollout(self) -> Rollout:
        return self.parts.rollouts.of(self.route).rollouts[-1]

    @property
    def share(self) -> StudentRoute | None:
        students = read_snapshot(self.layout.snapshot).routes[self.route].students
        return students[0] if students else None

    def lease(self, route: str | None = None) -> float:
        """When the one student of a route loses its traffic, Unix seconds."""
        (student,) = read_snapshot(self.layout.snapshot).routes[route or self.route].students
        assert student.valid_until is not None
        return student.valid_until

    @property
    def events(self) -> list[tuple[Event, str]]:
        return [(event.event, event.actor) for event in self.parts.rollouts.events(self.route)]

    def override(self, action: str, actor: str = "ann") -> Override:
        override, _ = write_override(
            self.layout.overrides, route=self.route, action=action, actor=actor,
            reason="bad answers", now=time.time(),
        )  # fmt: skip
        return override
