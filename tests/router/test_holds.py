"""Stories of holds and faults, told through the event log."""

from __future__ import annotations

from typing import Any

import pytest

from router.events import Event
from router.policy import DAY_S
from router.rollout import Refusal, step
from router.stages import HeldReason, Stage
from router.state import Fault, Hold
from tests.router.build import (
    ALARM,
    NOW,
    POLICY,
    Log,
    facts,
    rollout,
    signal,
    summary,
)
from tests.router.climbing import climb, stage, to_r1

AUTO: dict[str, Any] = {"actor": "auto"}


def test_a_hold_returns_to_its_stage_and_not_above() -> None:
    log = to_r1()
    climb(log, steps=1)
    log.send(Event.PAUSE)
    log.send(Event.WARN, evidence=summary(guard="warn"), ts=NOW + 5.0, **AUTO)
    held = log.route.get("s1")
    assert held is not None and held.weight == 0.05
    assert held.reasons == (HeldReason.PAUSE, HeldReason.WARN)
    assert held.marks.return_from == NOW + 5.0
    log.send(Event.RECOVERED, evidence=summary(recovered=True), ts=NOW + 9.0, **AUTO)
    held = log.route.get("s1")
    assert held is not None and held.reasons == (HeldReason.PAUSE,)
    assert (held.marks.warn_from, held.marks.return_from) == (NOW + 9.0, None)
    log.send(Event.RESUME, ts=NOW + 10.0)
    back = log.route.get("s1")
    assert back is not None and (back.stage, back.entered) == (Stage.R5, NOW + 10.0)


def test_an_availability_fault_holds_at_zero_and_keeps_the_evidence() -> None:
    log = to_r1()
    before = log.route.get("s1")
    log.send(Event.AVAILABILITY_ALARM, facts=facts(availability=ALARM), ts=NOW + 60.0, **AUTO)
    held = log.route.get("s1")
    assert before is not None and held is not None
    assert (held.stage, held.weight) == (Stage.HELD, 0.0)
    assert (held.k, held.marks, held.hashes) == (before.k, before.marks, before.hashes)
    log.send(Event.HEALTHY, facts=facts(healthy_since=NOW + 60.0), ts=NOW + 120.0, **AUTO)
    back = log.route.get("s1")
    assert back is not None and (back.stage, back.weight, back.k) == (Stage.R1, 0.01, 1)
    assert back.availability_from == NOW + 120.0 and back.unhealthy_since is None


def test_freeze_and_pause_do_not_stop_a_healthy_return() -> None:
    log = to_r1()
    frozen = facts(freeze="holidays")
    log.send(Event.FREEZE_START, facts=frozen, **AUTO)
    log.send(Event.PAUSE)
    log.send(Event.AVAILABILITY_ALARM, facts=facts(unreachable="refused"), **AUTO)
    assert log.route.get("s1").weight == 0.0  # type: ignore[union-attr]
    log.send(Event.HEALTHY, facts=frozen, ts=NOW + 60.0, **AUTO)
    held = log.route.get("s1")
    assert held is not None and held.stage is Stage.HELD and held.weight == 0.01
    assert held.reasons == (HeldReason.FREEZE, HeldReason.PAUSE)


def test_flapping_ends_in_rolled_back_and_the_dwell_grows() -> None:
    log = to_r1()
    ts = NOW
    for dwell in (60.0, 300.0, 900.0, 3_600.0):
        ill = facts(availability=ALARM)
        assert log.send(Event.AVAILABILITY_ALARM, facts=ill, ts=ts, **AUTO).stage is Stage.HELD  # type: ignore[union-attr]
        well = facts(healthy_since=ts)
        early = signal(Event.HEALTHY, facts=well, ts=ts + dwell - 1.0, **AUTO)
        assert isinstance(step(log.route, early, POLICY), Refusal)
        ts += dwell
        log.send(Event.HEALTHY, facts=well, ts=ts, **AUTO)
    log.send(Event.AVAILABILITY_ALARM, facts=facts(availability=ALARM), ts=ts, **AUTO)
    assert stage(log) is Stage.ROLLED_BACK


def test_holds_outside_day_and_requests_do_not_count() -> None:
    log = to_r1()
    for i in range(8):
        ts = NOW + i * 2 * DAY_S
        ill = facts(availability=ALARM, sent=5_000 + i * 20_000)
        log.send(Event.AVAILABILITY_ALARM, facts=ill, ts=ts, **AUTO)
        log.send(Event.HEALTHY, facts=facts(healthy_since=ts), ts=ts + 3_600.0, **AUTO)
    assert stage(log) is Stage.R1


def test_holds_of_requests_that_are_not_known_any_more_do_not_count() -> None:
    """Retention and erasure leave fewer requests than there were at the hold."""
    old = rollout(Stage.R5, holds=(Hold(NOW - 2 * DAY_S, 5_000),))
    policy = POLICY.guard
    assert old.holds_in_window(policy, now=NOW, sent=5_100) == 1
    assert old.holds_in_window(policy, now=NOW, sent=20_000) == 0
    assert old.holds_in_window(policy, now=NOW, sent=0) == 0


@pytest.mark.parametrize("where", [Stage.SHADOW, Stage.R1])
def test_faults_are_remembered_from_the_alarm_until_healthy_again(where: Stage) -> None:
    log = to_r1()
    if where is Stage.SHADOW:
        log = Log()
        log.send(Event.STUDENT_REGISTERED, **AUTO)
    for number in range(2):
        at = NOW + number * DAY_S
        log.send(Event.AVAILABILITY_ALARM, ts=at, facts=facts(availability=ALARM), **AUTO)
        well = facts(healthy_since=at)
        log.send(Event.HEALTHY, ts=at + 3_600.0, facts=well, **AUTO)
    subject = log.route.get("s1")
    assert subject is not None and subject.unhealthy_since is None
    assert subject.faults == (
        Fault(NOW, NOW + 3_600.0),
        Fault(NOW + DAY_S, NOW + DAY_S + 3_600.0),
    )


def test_a_fault_ends_with_a_retry_at_the_latest() -> None:
    log = to_r1()
    log.send(Event.AVAILABILITY_ALARM, ts=NOW, facts=facts(availability=ALARM), **AUTO)
    log.send(Event.ROLLBACK, ts=NOW + 60.0)
    log.send(Event.RETRY, ts=NOW + 2 * DAY_S)
    subject = log.route.get("s1")
    assert subject is not None and subject.unhealthy_since is None
    assert subject.faults == (Fault(NOW, NOW + 2 * DAY_S),)


def test_a_replay_mismatch_holds_at_zero_until_a_person_resumes() -> None:
    log = to_r1()
    log.send(Event.REPLAY_MISMATCH, **AUTO)
    assert log.route.get("s1").weight == 0.0  # type: ignore[union-attr]
    log.send(Event.RESUME)
    assert stage(log) is Stage.R1
