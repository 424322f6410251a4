"""The invariants of the state machine, under arbitrary events and facts."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from router.chain import line, verify
from router.decide import decide
from router.errors import IllegalEvent
from router.events import COMMANDS, Event, Facts, Health, RolloutEvent
from router.forms import forms_of
from router.gate import Gate, alpha_for, judge
from router.guard import CLEAR
from router.policy import DAY_S, GatePolicy, Policy, RolloutPolicy
from router.rollout import Refusal, fold, step
from router.stages import EXPOSED, SERVING, HeldReason, Stage
from router.state import Rollout, RouteRollouts, weights
from tests.router.build import ALARM, HASHES, NOW, Log, facts, signal, summary

STUDENTS = ("s1", "s2")
POLICIES = [
    Policy(),
    Policy(rollout=RolloutPolicy(approval="none")),
    Policy(rollout=RolloutPolicy(approval="every")),
    Policy(rollout=RolloutPolicy(dry_run=True)),
]


def mostly(good: Any, *others: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([good] * 6 * len(others) + list(others))


worlds = st.builds(
    Facts,
    health=st.builds(
        Health,
        sent=mostly(5_000, 0, 50_000),
        served=mostly(9_999, 0, 300),
        availability=mostly(CLEAR, ALARM),
        breakers_open_since=mostly(None, NOW),
        unreachable=mostly(None, "refused"),
        healthy_since=mostly(NOW, None),
    ),
    hashes=mostly(HASHES, replace(HASHES, metric="m2")),
    report=st.sampled_from(["report-1", "report-2"]),
    freeze=mostly(None, "holidays"),
    lost=st.sampled_from([None] * 60 + ["deprecated"]),
    capacity=mostly(None, "quota"),
    control_started=mostly(NOW - DAY_S, NOW + DAY_S),
)
verdicts = st.fixed_dictionaries(
    {
        "gate": mostly("promote", "collect", "reject", "inconclusive"),
        "guard": st.sampled_from(["clear"] * 20 + ["warn", "warn", "alarm"]),
        "step_scored": mostly(20, 0),
        "step_coverage": mostly(1.0, 0.5, None),
        "recovered": st.booleans(),
    }
)
moves = st.lists(
    st.tuples(
        # None: a tick; automation decides
        st.sampled_from([None] * 2 * len(Event) + [Event.APPROVE] * 8 + list(Event)),
        st.sampled_from(["s1", "s1", "s2", ""]),
        st.sampled_from([60.0, 0.5 * DAY_S, 2 * DAY_S]),
        st.sampled_from(["report-1", "report-2"]),
        verdicts,
        worlds,
    ),
    min_size=20,
    max_size=60,
)
#: how far s1 and s2 have come when the story begins
starts = st.tuples(st.integers(0, 6), st.integers(0, 2))


def begin(log: Log, student: str, steps: int) -> None:
    """Register a student and lead it up by ``steps``, each with a report of its own."""
    log.send(Event.STUDENT_REGISTERED, student=student, actor="auto")
    ladder = [Event.GATE_PROMOTE, Event.APPROVE, *[Event.ADVANCE] * 4]
    for n, event in enumerate(ladder[:steps]):
        subject = log.route.get(student)
        assert subject is not None
        known = {
            "student": student,
            "ts": NOW + 30 * DAY_S * len(log.events),
            "evidence": summary(k=subject.k),
            "report": f"way-{n}",
            "facts": facts(report=f"way-{n}"),
        }
        if event is Event.ADVANCE:
            log.send(Event.APPROVE, **known)
        log.send(event, **known)


def check(policy: Policy, before: RouteRollouts, event: RolloutEvent, after: RouteRollouts) -> None:
    """One transition keeps every invariant."""
    old, new = before.get(event.student), after.get(event.student)
    for subject in after.rollouts:
        assert subject.weight == 0.0 or subject.stage in EXPOSED
        assert (subject.stage is Stage.HELD) <= bool(subject.reasons)
        if subject.student != event.student:
            assert subject == before.get(subject.student)
    assert after.k >= before.k
    if not event.changed:
        assert after == replace(before, seq=event.seq)
        return
    if old is None or new is None:
        return
    if event.actor == "auto":
        assert_automation(policy, event, old, new)
    if event.event is Event.AVAILABILITY_ALARM:
        assert (new.k, new.marks, new.hashes) == (old.k, old.marks, old.hashes)
        assert new.weight == 0.0
    if event.event in (Event.ROLLBACK, Event.QUALITY_ALARM):
        assert new.stage is Stage.ROLLED_BACK and new.weight == 0.0
    if old.stage is Stage.HELD and new.stage in SERVING:
        assert new.stage is old.held


def assert_automation(policy: Policy, event: RolloutEvent, old: Rollout, new: Rollout) -> None:
    """Up by one step at most, never past a person's rollback, kill or pause."""
    ladder = (Stage.SHADOW, Stage.READY, *SERVING)
    if old.stage in ladder and new.stage in ladder:
        assert ladder.index(new.stage) <= ladder.index(old.stage) + 1
    if old.stage in (Stage.ROLLED_BACK, Stage.REJECTED):
        raise AssertionError(f"automation moved a rollout out of {old.stage}")
    if old.stage is Stage.KILLED:
        assert new.stage in (Stage.KILLED, Stage.ROLLED_BACK)
    if HeldReason.PAUSE in old.reasons and old.stage is Stage.HELD and new.weight > 0:
        assert HeldReason.PAUSE in new.reasons
    assert event.event not in COMMANDS or policy.rollout.approval == "none"


@settings(max_examples=300, suppress_health_check=[HealthCheck.large_base_example])
@given(st.sampled_from(POLICIES), starts, moves)
def test_invariants(policy: Policy, start: tuple[int, int], steps: list[Any]) -> None:
    log = Log(policy)
    for student, far in zip(STUDENTS, start, strict=True):
        begin(log, student, far if student == "s1" or start[0] in (0, 1, 6) else min(far, 1))
    now = log.events[-1].ts
    for event, student, later, report, verdict, known in steps:
        now += later
        before = log.route
        subject = before.get(student)
        evidence = summary(k=subject.k if subject else 1, **verdict)
        if event is None:
            decision = decide(
                before, student or "s1", evidence=evidence, facts=known, policy=policy, now=now
            )
            assert decision.reason
            if decision.transition is None:
                continue
            outcome: Any = decision.transition
        else:
            asked = signal(
                event,
                student=student,
                ts=now,
                actor="ann" if event in COMMANDS else "auto",
                report=report,
                evidence=evidence,
                facts=known,
            )
            try:
                outcome = step(before, asked, policy)
            except IllegalEvent:
                assert log.route == before
                continue
            if isinstance(outcome, Refusal):
                assert outcome.reason
                continue
        n = len(log.events)
        stored = log.append(outcome)
        assert len(log.events) == n + 1
        check(policy, before, stored, log.route)
        if policy.rollout.dry_run:
            assert all(w.weight == 0.0 for w in weights(log.route, policy.rollout))
    lines = [line(stored) for stored in log.events]
    replayed = fold("triage", verify(lines))
    assert replayed == log.route
    text = msgspec.json.encode(log.route)
    assert msgspec.json.encode(replayed) == text
    assert msgspec.json.decode(text, type=RouteRollouts) == log.route


RANK = {"reject": 0, "inconclusive": 1, "collect": 1, "promote": 2}


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), min_size=20, max_size=60
    ),
    st.sampled_from(
        [GatePolicy(min_pairs=10), GatePolicy(min_pairs=10, min_score=0.6, margin=0.1)]
    ),
)
def test_better_evidence_never_lowers_a_verdict(
    triples: list[tuple[float, float, float]], policy: GatePolicy
) -> None:
    alpha = alpha_for(1, policy.alpha)
    worse = [Gate(form, alpha=alpha, policy=policy) for form in forms_of(policy)]
    better = [Gate(form, alpha=alpha, policy=policy) for form in forms_of(policy)]
    for _ in range(4):
        for low, high, teacher in triples:
            for gate in worse:
                gate.add(min(low, high), teacher)
            for gate in better:
                gate.add(max(low, high), teacher)
            assert RANK[judge(better, [], None).verdict] >= RANK[judge(worse, [], None).verdict]
