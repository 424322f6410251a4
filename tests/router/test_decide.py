from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from router.decide import AUTOMATIC, Decision, decide
from router.events import COMMANDS, Event
from router.policy import DAY_S, Policy, RolloutPolicy
from router.stages import HeldReason, Stage
from router.state import Rollout
from router.verdicts import EvidenceSummary
from tests.router.build import ALARM, HASHES, NOW, POLICY, facts, rollout, route, summary


def tick(
    subject: Rollout,
    *,
    evidence: EvidenceSummary | None = None,
    policy: Policy = POLICY,
    now: float = NOW,
    **known: Any,
) -> Decision:
    return decide(
        route(subject), "s1", evidence=evidence, facts=facts(**known), policy=policy, now=now
    )


def moved(decision: Decision) -> tuple[Event, Stage | None]:
    assert decision.transition is not None, decision.reason
    assert decision.transition.event.reason == decision.reason
    return decision.transition.event.event, decision.transition.event.stage_to


def stays(decision: Decision) -> str:
    assert decision.transition is None, decision.transition
    return decision.reason


def test_shadow() -> None:
    shadow = rollout(Stage.SHADOW)
    assert moved(tick(shadow, evidence=summary())) == (Event.GATE_PROMOTE, Stage.READY)
    assert moved(tick(shadow, evidence=summary(gate="reject")))[1] is Stage.REJECTED
    assert moved(tick(shadow, evidence=summary(gate="inconclusive")))[1] is Stage.INCONCLUSIVE
    assert stays(tick(shadow, evidence=summary(gate="collect"))) == "SHADOW: the gate says collect"
    assert stays(tick(shadow)) == "SHADOW: no evidence yet"


def test_a_faulty_student_is_not_promoted() -> None:
    shadow = rollout(Stage.SHADOW)
    noted = tick(shadow, evidence=summary(), availability=ALARM)
    assert moved(noted) == (Event.AVAILABILITY_ALARM, Stage.SHADOW)
    ill = replace(shadow, unhealthy_since=NOW - 30.0)
    assert "unavailable for 30 s" in stays(
        tick(ill, evidence=summary(), availability=ALARM, healthy_since=None)
    )
    well = tick(ill, evidence=summary(), healthy_since=NOW - 60.0, now=NOW + 60.0)
    assert moved(well) == (Event.HEALTHY, Stage.SHADOW)


def test_ready_says_what_it_waits_for() -> None:
    ready = rollout(Stage.READY)
    reason = stays(tick(ready, evidence=summary()))
    assert reason == "READY: waits for a person's approval of report report-1; READY expires in 5 d"
    unmade = stays(tick(ready, evidence=summary(), report=None))
    assert unmade.startswith("READY: waits for a person: the report is being made")
    assert moved(tick(ready, evidence=summary(guard="alarm")))[1] is Stage.ROLLED_BACK
    late = replace(ready, entered=NOW - 8 * DAY_S)
    assert moved(tick(late, evidence=summary())) == (Event.EXPIRE, Stage.SHADOW)


def test_approval_by_nobody() -> None:
    nobody = Policy(rollout=RolloutPolicy(approval="none"))
    ready = rollout(Stage.READY)
    decision = tick(ready, evidence=summary(), policy=nobody)
    assert moved(decision) == (Event.APPROVE, Stage.R1)
    assert "no report yet" in stays(tick(ready, evidence=summary(), policy=nobody, report=None))


def test_a_ramp_step_says_how_far_it_is() -> None:
    r5 = rollout(Stage.R5, entered=NOW - 1.2 * 3_600.0)
    reason = stays(tick(r5, evidence=summary(), served=312))
    assert reason == "R5: 312 of 500 served, 1.2 h of 4 h dwell"
    done = rollout(Stage.R5, entered=NOW - 4 * 3_600.0)
    assert moved(tick(done, evidence=summary(), served=500)) == (Event.ADVANCE, Stage.R25)


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ({"evidence": None}, "no evidence yet"),
        ({"evidence": summary(gate="collect")}, "the gate says collect"),
        ({"evidence": summary(gate="inconclusive")}, "the gate says inconclusive"),
        ({"evidence": summary(step_scored=0)}, "no scored pair since R25 began"),
        ({"evidence": summary(step_coverage=0.5)}, "label coverage 0.500 since R25 began"),
        ({"control_started": NOW - 60.0}, "control started lately"),
        ({"capacity": "quota"}, "could not take the traffic back: quota"),
    ],
)
def test_what_stops_an_advance(known: dict[str, Any], reason: str) -> None:
    assert reason in stays(tick(rollout(Stage.R25), **{"evidence": summary(), **known}))


def test_one_step_a_call() -> None:
    old = rollout(Stage.R1, entered=NOW - 4 * 3_600.0)
    assert moved(tick(old, evidence=summary(), served=10_000))[1] is Stage.R5


def test_too_little_data_holds() -> None:
    slow = rollout(Stage.R1, entered=NOW - 5 * 3_600.0)
    decision = tick(slow, evidence=summary(), served=7)
    assert moved(decision) == (Event.TOO_LITTLE_DATA, Stage.HELD)
    assert decision.reason == "too little data: R1: 7 served in 5 h"
    nothing = Policy(rollout=RolloutPolicy(r1=replace(RolloutPolicy().r1, dwell_s=0.0)))
    assert "7 of 100 served" in stays(tick(slow, evidence=summary(), served=7, policy=nothing))


@pytest.mark.parametrize("stage", [Stage.R1, Stage.R50, Stage.LIVE])
def test_faults_come_first(stage: Stage) -> None:
    subject = rollout(stage)
    bad = summary(guard="alarm")
    assert moved(tick(subject, evidence=bad, availability=ALARM))[1] is Stage.ROLLED_BACK
    assert moved(tick(subject, evidence=bad, lost="deleted"))[0] is Event.LOST
    held = tick(subject, evidence=summary(guard="warn"), availability=ALARM)
    assert moved(held) == (Event.AVAILABILITY_ALARM, Stage.HELD)
    assert moved(tick(subject, evidence=summary(guard="warn")))[0] is Event.WARN
    assert moved(tick(subject, evidence=summary(), freeze="x"))[0] is Event.FREEZE_START
    other = replace(HASHES, metric="m2")
    changed = tick(subject, evidence=summary(), hashes=other)
    assert moved(changed) == (Event.CHANGED, Stage.HELD)
    assert changed.reason == "changed: metric; evidence begins afresh"


def test_breakers_hold_after_a_minute_and_get_it_again_after_a_return() -> None:
    live = rollout(Stage.LIVE)
    assert "LIVE" in stays(tick(live, evidence=summary(), breakers_open_since=NOW - 59.0))
    held = tick(live, evidence=summary(), breakers_open_since=NOW - 61.0)
    assert moved(held)[0] is Event.AVAILABILITY_ALARM and "breakers open" in held.reason
    back = replace(live, availability_from=NOW - 10.0)
    stays(tick(back, evidence=summary(), breakers_open_since=NOW - 300.0))


def test_breakers_say_nothing_about_a_student_that_nobody_asks() -> None:
    """They close on live requests only, and at weight 0 there are none."""
    held = rollout(Stage.HELD, HeldReason.AVAILABILITY)
    open_since = {"breakers_open_since": NOW - 3_600.0}
    assert moved(tick(held, evidence=summary(), **open_since)) == (Event.HEALTHY, Stage.R5)
    paused = rollout(Stage.HELD, HeldReason.PAUSE)
    alarm = moved(tick(paused, evidence=summary(), **open_since))
    assert alarm == (Event.AVAILABILITY_ALARM, Stage.HELD)


def test_the_healthy_dwell_runs_to_where_the_log_is_known() -> None:
    held = rollout(Stage.HELD, HeldReason.AVAILABILITY)
    known = {"healthy_since": NOW - 3_600.0, "known_to": NOW - 570.0}
    assert "healthy for 30 s of 1 min" in stays(tick(held, evidence=summary(), **known))
    assert "healthy for 0 s" in stays(tick(held, evidence=summary(), **known | {"known_to": 0.0}))
    later = tick(held, evidence=summary(), **known | {"known_to": NOW - 540.0})
    assert moved(later) == (Event.HEALTHY, Stage.R5)


def test_holds_end_by_themselves_where_they_may() -> None:
    freeze = rollout(Stage.HELD, HeldReason.FREEZE)
    assert moved(tick(freeze, evidence=summary())) == (Event.FREEZE_END, Stage.R5)
    warn = rollout(Stage.HELD, HeldReason.WARN)
    assert moved(tick(warn, evidence=summary(recovered=True)))[0] is Event.RECOVERED
    changed = rollout(Stage.HELD, HeldReason.CHANGED)
    assert moved(tick(changed, evidence=summary())) == (Event.GATE_PROMOTE, Stage.R5)
    assert moved(tick(changed, evidence=summary(gate="reject")))[1] is Stage.ROLLED_BACK
    ill = rollout(Stage.HELD, HeldReason.AVAILABILITY)
    assert moved(tick(ill, evidence=summary())) == (Event.HEALTHY, Stage.R5)
    gone = replace(ill, unhealthy_since=NOW - 7 * DAY_S)
    assert moved(tick(gone, evidence=summary())) == (Event.UNHEALTHY_TOO_LONG, Stage.ROLLED_BACK)


def test_a_pause_stays_until_a_person_resumes() -> None:
    both = rollout(Stage.HELD, HeldReason.PAUSE, HeldReason.WARN)
    reason = stays(tick(both, evidence=summary()))
    assert "pause: a person ends it by resume" in reason
    assert "warn: the gate process begun at the warning does not pass" in reason


@pytest.mark.parametrize("stage", [Stage.ROLLED_BACK, Stage.REJECTED, Stage.INCONCLUSIVE])
def test_settled_rollouts_stay(stage: Stage) -> None:
    subject = rollout(stage, why="quality: M reached 20000")
    assert stays(tick(subject, evidence=summary())) == f"{stage.value}: quality: M reached 20000"


def test_a_killed_route_and_an_unknown_student() -> None:
    killed = replace(route(rollout(Stage.SHADOW)), killed=True)
    decision = decide(killed, "s1", evidence=summary(), facts=facts(), policy=POLICY, now=NOW)
    assert stays(decision) == "SHADOW: route triage is killed"
    unknown = decide(killed, "s9", evidence=None, facts=facts(), policy=POLICY, now=NOW)
    assert stays(unknown) == "s9 is not registered"


def test_flapping_is_named() -> None:
    from router.state import Hold

    holds = tuple(Hold(NOW - i, 5_000) for i in range(4))
    decision = tick(rollout(Stage.R5, holds=holds), evidence=summary(), availability=ALARM)
    assert moved(decision)[1] is Stage.ROLLED_BACK
    assert decision.reason.startswith("flapping: error guard")


def test_the_end_of_a_dry_run_goes_back_to_approval() -> None:
    dry = rollout(Stage.LIVE, dry=True)
    assert moved(tick(dry, evidence=summary())) == (Event.DRY_RUN_ENDED, Stage.READY)


def test_automation_knows_no_command_but_approval() -> None:
    assert COMMANDS.intersection(AUTOMATIC) == {Event.APPROVE}


def test_automation_consents_to_no_step_for_a_person() -> None:
    every = Policy(rollout=RolloutPolicy(approval="every"))
    reason = stays(tick(rollout(Stage.R5), evidence=summary(), policy=every))
    assert reason == "R5: every step needs approval: report report-1 waits for it"
