"""Stories of whole rollouts, told through the event log."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from router.decide import Decision, decide
from router.errors import ChainError, IllegalEvent
from router.events import Event, Facts
from router.pairs import Marks
from router.policy import DAY_S, Policy, RolloutPolicy
from router.rollout import Refusal, apply, fold, step, targets
from router.stages import Stage
from router.state import RouteRollouts, weights
from tests.router.build import (
    HASHES,
    NOW,
    POLICY,
    Log,
    every_step,
    facts,
    rollout,
    route,
    signal,
    summary,
)
from tests.router.climbing import climb, raise_to_r1, stage, to_r1

AUTO: dict[str, Any] = {"actor": "auto"}


def test_the_way_to_full_traffic() -> None:
    log = to_r1()
    climb(log)
    subject = log.route.get("s1")
    assert subject is not None and subject.stage is Stage.LIVE and subject.weight == 1.0
    assert [(e.stage_to, e.weight_to) for e in log.events] == [
        (Stage.SHADOW, 0.0),
        (Stage.READY, 0.0),
        (Stage.R1, 0.01),
        (Stage.R5, 0.05),
        (Stage.R25, 0.25),
        (Stage.R50, 0.5),
        (Stage.LIVE, 1.0),
    ]
    assert subject.marks == Marks(
        since=NOW, cap_from=NOW, guard_from=NOW, step_from=log.events[-1].ts
    )
    assert log.events[2].report == "report-1" and log.events[2].actor == "ann"


def test_a_changed_teacher_begins_the_evidence_afresh_at_the_same_weight() -> None:
    log = to_r1()
    climb(log)
    other = replace(HASHES, teacher="t2")
    log.send(Event.CHANGED, facts=facts(hashes=other), ts=NOW + 200 * DAY_S, **AUTO)
    held = log.route.get("s1")
    assert held is not None
    assert (held.stage, held.weight, held.k, log.route.k) == (Stage.HELD, 1.0, 2, 2)
    assert held.marks.guard_from == held.marks.cap_from == NOW + 200 * DAY_S
    assert held.hashes.teacher == "t2"
    log.send(Event.GATE_PROMOTE, evidence=summary(k=2), facts=facts(hashes=other), **AUTO)
    assert stage(log) is Stage.LIVE


def test_a_step_that_was_approved_on_old_evidence_is_not_on_the_new() -> None:
    log = Log(every_step())
    raise_to_r1(log, "s1", 1)
    log.send(Event.APPROVE, report="report-R1", facts=facts(report="report-R1"), ts=NOW + 60.0)
    assert log.route.get("s1").consent  # type: ignore[union-attr]
    other = facts(hashes=replace(HASHES, teacher="t2"))
    log.send(Event.CHANGED, facts=other, ts=NOW + 120.0, **AUTO)
    log.send(Event.GATE_PROMOTE, evidence=summary(k=2), facts=other, ts=NOW + 180.0, **AUTO)
    up = signal(Event.ADVANCE, evidence=summary(k=2), facts=other, ts=NOW + DAY_S, **AUTO)
    refused = step(log.route, up, log.policy)
    assert isinstance(refused, Refusal) and "every step needs approval" in refused.reason


@pytest.mark.parametrize("where", [Stage.READY, Stage.R1])
def test_nobody_approves_what_has_changed_since(where: Stage) -> None:
    policy = every_step()
    changed = facts(hashes=replace(HASHES, teacher="t2", metric="m2"))
    refused = step(route(rollout(where)), signal(Event.APPROVE, facts=changed), policy)
    assert isinstance(refused, Refusal)
    assert refused.reason == "not as in the evidence any more: teacher, metric"


def test_ready_goes_back_when_the_metric_changed_or_nobody_approved() -> None:
    log = Log()
    log.send(Event.STUDENT_REGISTERED, **AUTO)
    log.send(Event.GATE_PROMOTE, **AUTO)
    log.send(Event.EXPIRE, ts=NOW + 7 * DAY_S, **AUTO)
    expired = log.route.get("s1")
    assert expired is not None and (expired.stage, expired.k) == (Stage.SHADOW, 1)
    assert expired.marks == Marks(since=NOW, cap_from=NOW)
    log.send(Event.GATE_PROMOTE, ts=NOW + 7 * DAY_S, **AUTO)
    log.send(Event.CHANGED, facts=facts(hashes=replace(HASHES, metric="m2")), **AUTO)
    changed = log.route.get("s1")
    assert changed is not None and (changed.stage, changed.k) == (Stage.SHADOW, 2)


def test_evidence_of_an_earlier_candidate_moves_nothing() -> None:
    log = Log()
    log.send(Event.STUDENT_REGISTERED, student="s0", **AUTO)
    log.send(Event.STUDENT_REGISTERED, **AUTO)
    outcome = step(log.route, signal(Event.GATE_PROMOTE, evidence=summary(k=1), **AUTO), POLICY)
    assert isinstance(outcome, Refusal) and "candidate 1, this is 2" in outcome.reason


def test_champion_and_challenger() -> None:
    log = to_r1("s1")
    climb(log, "s1")
    raise_to_r1(log, "s2", k=2)
    assert log.route.champion.student == "s1"  # type: ignore[union-attr]
    assert log.route.challenger.student == "s2"  # type: ignore[union-attr]
    assert [(w.student, w.weight) for w in weights(log.route, POLICY.rollout)] == [
        ("s2", 0.01),
        ("s1", 1.0),
    ]
    climb(log, "s2", k=2, ts=NOW + 300 * DAY_S)
    assert [w.student for w in weights(log.route, POLICY.rollout)] == ["s2", "s1"]
    log.send(Event.SUPERSEDED, student="s1", **AUTO)
    assert [(w.student, w.weight) for w in weights(log.route, POLICY.rollout)] == [("s2", 1.0)]
    with pytest.raises(AssertionError, match="no newer student"):
        log.send(Event.SUPERSEDED, student="s2", **AUTO)


def test_a_bad_challenger_leaves_the_champion_alone() -> None:
    log = to_r1("s1")
    climb(log, "s1")
    raise_to_r1(log, "s2", k=2)
    log.send(Event.QUALITY_ALARM, student="s2", evidence=summary(k=2, guard="alarm"), **AUTO)
    assert stage(log, "s2") is Stage.ROLLED_BACK
    assert [(w.student, w.weight) for w in weights(log.route, POLICY.rollout)] == [("s1", 1.0)]


def everywhere(log: Log, event: Event, **fields: object) -> None:
    for student in targets(log.route, event):
        log.send(event, student=student, **fields)


def test_rollback_takes_back_every_student_of_the_route() -> None:
    log = to_r1("s1")
    climb(log, "s1")
    raise_to_r1(log, "s2", k=2)
    log.send(Event.STUDENT_REGISTERED, student="s3", **AUTO)
    log.send(Event.GATE_PROMOTE, student="s3", evidence=summary(k=3), **AUTO)
    log.send(Event.STUDENT_REGISTERED, student="s4", **AUTO)
    everywhere(log, Event.ROLLBACK)
    stages = [r.stage for r in log.route.rollouts]
    assert stages == [Stage.ROLLED_BACK] * 3 + [Stage.SHADOW]
    n = len(log.events)
    everywhere(log, Event.ROLLBACK)  # nothing serves: no change, but logged
    assert len(log.events) == n + 1
    assert (log.events[-1].student, log.events[-1].changed) == ("", False)


def test_a_rolled_back_student_cools_down_and_starts_again_as_a_new_candidate() -> None:
    log = to_r1()
    log.send(Event.ROLLBACK, ts=NOW)
    early = step(log.route, signal(Event.RETRY, ts=NOW + 3_600.0), POLICY)
    assert isinstance(early, Refusal) and "cool-down: retry in 23 h" in early.reason
    log.send(Event.RETRY, ts=NOW + DAY_S)
    subject = log.route.get("s1")
    assert subject is not None and (subject.stage, subject.k) == (Stage.SHADOW, 2)
    assert log.send(Event.RETRY, ts=NOW + DAY_S) == subject  # repeated: nothing


def test_kill_and_unkill() -> None:
    log = to_r1("s1")
    climb(log, "s1")
    everywhere(log, Event.KILL)
    killed = log.route
    assert killed.killed and stage(log) is Stage.KILLED
    assert weights(log.route, POLICY.rollout) == ()
    everywhere(log, Event.KILL)
    silent = step(log.route, signal(Event.UNKILL, student="", reason=""), POLICY)
    assert isinstance(silent, Refusal) and "unkill needs --reason" in silent.reason
    alone = step(log.route, signal(Event.UNKILL), POLICY)
    assert isinstance(alone, Refusal) and "is killed" in alone.reason
    everywhere(log, Event.UNKILL)
    held = log.route.get("s1")
    assert held is not None and not log.route.killed
    assert (held.stage, held.weight, held.held) == (Stage.HELD, 0.0, Stage.R1)
    log.send(Event.RESUME)
    assert stage(log) is Stage.R1


def test_two_unkilled_students_do_not_both_return_to_the_ramp() -> None:
    log = to_r1("s1")
    climb(log, "s1")
    raise_to_r1(log, "s2", k=2)
    everywhere(log, Event.KILL)
    everywhere(log, Event.UNKILL)
    log.send(Event.RESUME, student="s2")
    other = step(log.route, signal(Event.RESUME, student="s1"), POLICY)
    assert isinstance(other, Refusal) and "one challenger" in other.reason


def test_an_undecided_student_is_extended_with_the_same_evidence() -> None:
    log = Log()
    log.send(Event.STUDENT_REGISTERED, **AUTO)
    log.send(Event.GATE_INCONCLUSIVE, evidence=summary(gate="inconclusive"), **AUTO)
    log.send(Event.EXTEND, ts=NOW + 50.0)
    subject = log.route.get("s1")
    assert subject is not None and (subject.stage, subject.k) == (Stage.SHADOW, 1)
    assert subject.marks == Marks(since=NOW, cap_from=NOW + 50.0, extensions=1)


def test_a_dry_run_goes_all_the_way_without_a_request_served_and_ends_at_ready() -> None:
    log = Log(Policy(rollout=RolloutPolicy(dry_run=True)))
    raise_to_r1(log, "s1", 1)
    nobody = facts(served=0)
    for n, reached in enumerate((Stage.R5, Stage.R25, Stage.R50, Stage.LIVE), start=1):
        # Far beyond the patience that a step with traffic would get.
        at = NOW + n * 30 * DAY_S
        early = decided(log, log.route.get("s1").entered + 60.0, nobody)  # type: ignore[union-attr]
        assert early.transition is None and "dry run, 1 min of" in early.reason
        decision = decided(log, at, nobody)
        assert decision.transition is not None, decision.reason
        log.append(decision.transition)
        assert (stage(log), log.route.get("s1").weight) == (reached, 0.0)  # type: ignore[union-attr]
    log.policy = POLICY
    decision = decided(log, NOW + 200 * DAY_S, nobody)
    assert decision.transition is not None
    log.append(decision.transition)
    subject = log.route.get("s1")
    assert subject is not None and (subject.stage, subject.dry, subject.k) == (
        Stage.READY,
        False,
        1,
    )
    assert fold("triage", log.events) == log.route


@pytest.mark.parametrize("order", [Event.PAUSE, Event.KILL])
def test_the_end_of_a_dry_run_undoes_no_hold_of_a_person(order: Event) -> None:
    nobody = facts(served=0)
    log = Log(Policy(rollout=RolloutPolicy(dry_run=True, approval="none")))
    raise_to_r1(log, "s1", 1)
    if order is Event.KILL:
        everywhere(log, Event.KILL)
        everywhere(log, Event.UNKILL)
    else:
        log.send(order)
    log.policy = Policy(rollout=RolloutPolicy(approval="none"))
    held = decided(log, NOW + DAY_S, nobody)
    assert held.transition is None and "a person ends it by resume" in held.reason
    log.send(Event.RESUME, ts=NOW + 2 * DAY_S)
    assert log.route.get("s1").weight == 0.0  # type: ignore[union-attr]
    ended = decided(log, NOW + 2 * DAY_S, nobody)
    assert ended.transition is not None, ended.reason
    assert ended.transition.event.event is Event.DRY_RUN_ENDED
    log.append(ended.transition)
    assert stage(log) is Stage.READY and not log.route.get("s1").dry  # type: ignore[union-attr]


def decided(log: Log, now: float, known: Facts) -> Decision:
    """A tick of automation about s1."""
    return decide(log.route, "s1", evidence=summary(), facts=known, policy=log.policy, now=now)


def test_a_dry_step_needs_a_scored_pair_and_labels_all_the_same() -> None:
    log = Log(Policy(rollout=RolloutPolicy(dry_run=True)))
    raise_to_r1(log, "s1", 1)
    for missing in ({"step_scored": 0}, {"step_coverage": 0.5}):
        asked = signal(
            Event.ADVANCE,
            ts=NOW + DAY_S,
            evidence=summary(**missing),
            facts=facts(served=0),
            **AUTO,
        )
        assert isinstance(step(log.route, asked, log.policy), Refusal)


def test_each_stage_and_each_return_asks_for_pairs_of_its_own() -> None:
    log = to_r1()
    subject = log.route.get("s1")
    assert subject is not None and subject.marks.step_from == subject.entered == NOW
    log.send(Event.PAUSE, ts=NOW + 60.0)
    log.send(Event.RESUME, ts=NOW + 120.0)
    subject = log.route.get("s1")
    assert subject is not None and subject.marks.step_from == subject.entered == NOW + 120.0


def test_leases_and_switches_of_the_snapshot() -> None:
    live = route(rollout(Stage.LIVE), replace(rollout(Stage.R5), student="s2", k=2))
    policy = POLICY.rollout
    assert [w.lease_s for w in weights(live, policy)] == [60.0, 600.0]
    dry = replace(policy, dry_run=True)
    assert {w.weight for w in weights(live, dry)} == {0.0}
    assert {w.weight for w in weights(replace(live, killed=True), policy)} == {0.0}


def test_commands_for_unknown_students_are_refused_events_raise() -> None:
    empty = RouteRollouts(route="triage")
    outcome = step(empty, signal(Event.ROLLBACK, student="s9"), POLICY)
    assert isinstance(outcome, Refusal) and "no student 's9'" in outcome.reason
    with pytest.raises(IllegalEvent, match="no student"):
        step(empty, signal(Event.WARN, student="s9", **AUTO), POLICY)
    gone = step(empty, signal(Event.STUDENT_REGISTERED, facts=facts(lost="no folder")), POLICY)
    assert isinstance(gone, Refusal) and "no folder" in gone.reason
    with pytest.raises(IllegalEvent, match="name the student"):
        step(empty, signal(Event.PAUSE, student=""), POLICY)
    with pytest.raises(IllegalEvent, match="whole route"):
        targets(empty, Event.PAUSE)


def test_a_fold_refuses_what_the_table_could_not_have_written() -> None:
    log = to_r1()
    event = log.events[-1]
    before = fold("triage", log.events[:-1])
    for wrong in (
        {"stage_from": Stage.SHADOW},
        {"stage_to": Stage.LIVE},
        {"weight_to": 0.5},
        {"k": 7},
        {"route": "other"},
        {"student": "s9"},
        {"student": "s9", "stage_from": None},
        {"event": Event.WARN},
    ):
        with pytest.raises(ChainError, match="event 3"):
            apply(before, replace(event, **wrong))
    assert apply(before, event) == log.route
    assert fold("another", log.events) == RouteRollouts(route="another")


def test_the_policy_of_today_does_not_change_the_past() -> None:
    log = Log(Policy(rollout=RolloutPolicy(dry_run=True)))
    raise_to_r1(log, "s1", 1)
    assert log.route.get("s1").dry  # type: ignore[union-attr]
    assert fold("triage", log.events) == log.route
