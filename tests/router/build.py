"""Builders for the router's tests: values that are right by default, with single fields changed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from router.chain import GENESIS, seal
from router.events import Event, Facts, Hashes, Health, RolloutEvent, Signal
from router.forms import bar_text
from router.pairs import Marks, Pair
from router.policy import DAY_S, Policy, RolloutPolicy
from router.rollout import Transition, apply, step
from router.stages import HeldReason, Stage
from router.state import Rollout, RouteRollouts
from router.verdicts import EvidenceSummary, GateVerdict, GuardVerdict

NOW = 1_800_000_000.0
POLICY = Policy()
ALARM = GuardVerdict(verdict="alarm", reason="error guard: 9 of 9 requests failed")
HASHES = Hashes(config="c1", teacher="t1", student="a1", metric="m1", bar=bar_text(POLICY.gate))


def summary(
    *,
    k: int = 1,
    gate: str = "promote",
    guard: str = "clear",
    recovered: bool = False,
    step_scored: int = 20,
    step_coverage: float | None = 1.0,
) -> EvidenceSummary:
    return EvidenceSummary(
        seq=500,
        ts=NOW,
        k=k,
        n=500,
        n_all=520,
        step_scored=step_scored,
        step_coverage=step_coverage,
        alpha_k=0.03,
        threshold=33.0,
        passes=True,
        mean_student=0.91,
        mean_teacher=0.92,
        student_interval=None,
        teacher_interval=None,
        forms=(),
        gate=GateVerdict(verdict=gate, reason=f"the gate says {gate}"),  # type: ignore[arg-type]
        guard=GuardVerdict(verdict=guard, reason=f"the guard says {guard}"),  # type: ignore[arg-type]
        guards=(),
        recovered=recovered,
        control_n=500,
        control_rejected=True,
        label_coverage=1.0,
        outcomes={"scored": 520},
        outage_windows=0,
        outage_share=0.0,
    )


def rollout(stage: Stage, *reasons: HeldReason, **fields: Any) -> Rollout:
    """A rollout that has been in ``stage`` for a while."""
    held = {Stage.HELD: Stage.R5, Stage.KILLED: Stage.R1}.get(stage)
    if stage is Stage.HELD and not reasons:
        reasons = (HeldReason.TOO_LITTLE_DATA,)
    base = Rollout(
        student="s1",
        k=1,
        stage=stage,
        entered=NOW - 2 * DAY_S,
        held=held,
        reasons=tuple(sorted(reasons)),
        marks=Marks(since=NOW - 3 * DAY_S, cap_from=NOW - 3 * DAY_S),
        unhealthy_since=NOW - 600.0 if HeldReason.AVAILABILITY in reasons else None,
        live_since=NOW - 2 * DAY_S if stage is Stage.LIVE else None,
        hashes=HASHES,
    )
    return replace(base, **fields)


def route(*rollouts: Rollout, **fields: Any) -> RouteRollouts:
    k = max((r.k for r in rollouts), default=0)
    return replace(RouteRollouts(route="triage", rollouts=rollouts, k=k), **fields)


def facts(**fields: Any) -> Facts:
    """Facts under which everything is allowed; health's fields may be given directly."""
    health = {name: fields.pop(name) for name in list(fields) if name in Health.__struct_fields__}
    good: dict[str, Any] = {"sent": 5_000, "served": 2_000, "healthy_since": NOW - DAY_S, **health}
    rest: dict[str, Any] = {"hashes": HASHES, "report": "report-1", **fields}
    return Facts(health=Health(**good), **{"control_started": NOW - DAY_S, **rest})


def signal(event: Event, **fields: Any) -> Signal:
    """A signal of a person, with all that the event's conditions ask for."""
    good: dict[str, Any] = {
        "student": "s1",
        "ts": NOW,
        "actor": "ann",
        "reason": "because",
        "report": "report-1" if event is Event.APPROVE else None,
        "evidence": summary(),
        "facts": facts(),
        **fields,
    }
    return Signal(event=event, **good)


class Log:
    """An event log in memory, as control keeps one."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.policy = policy
        self.route = RouteRollouts(route="triage")
        self.events: list[RolloutEvent] = []

    def append(self, transition: Transition) -> RolloutEvent:
        prev = self.events[-1].hash if self.events else GENESIS
        event = seal(transition.event, seq=len(self.events) + 1, prev_hash=prev, code_version="0.1")
        self.events.append(event)
        self.route = apply(self.route, event)
        return event

    def send(self, event: Event, **fields: Any) -> Rollout | None:
        outcome = step(self.route, signal(event, **fields), self.policy)
        assert isinstance(outcome, Transition), outcome
        self.append(outcome)
        return self.route.get(outcome.event.student)


def every_step() -> Policy:
    return Policy(rollout=RolloutPolicy(approval="every"))


def scores(
    seed: int, *, student: float, teacher: float, both: float | None = None
) -> Iterator[tuple[float, float]]:
    """Right/wrong scores (S, T) with these means; ``both``: share in which both are right."""
    rng = random.Random(seed)
    joint = student * teacher if both is None else both
    while True:
        u = rng.random()
        right_teacher = u < teacher
        right_student = u < joint or teacher <= u < teacher + student - joint
        yield float(right_student), float(right_teacher)


def pairs(
    source: Iterator[tuple[float, float]],
    n: int,
    *,
    start: int = 1,
    every_s: float = 60.0,
    **fields: Any,
) -> Iterator[Pair]:
    """Scored pairs from NOW - 3 days on; the negative control is always wrong."""
    for i in range(start, start + n):
        student, teacher = next(source)
        good: dict[str, Any] = {"control": 0.0 if i > 1 else None, **fields}
        yield Pair(
            seq=i, ts=NOW - 3 * DAY_S + i * every_s, student=student, teacher=teacher, **good
        )
