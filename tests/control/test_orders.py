from __future__ import annotations

import time

import pytest

from control.collecting import Known
from control.commands.order import said
from control.errors import BadInput, Refused
from control.override import read_override
from control.snapshot_file import read_snapshot
from router.events import Event, Facts, Health, Signal
from router.stages import HeldReason, Stage
from tests.control.stored import ROUTE, STUDENT
from tests.control.world import World


def test_an_override_is_folded_event_first_snapshot_next_and_removed_last(world: World) -> None:
    world.to_stage(Stage.R5)
    override = world.override("rollback")
    path = world.layout.snapshot
    # Nothing can be written into the data folder: the snapshot fails, so the override stays.
    before = path.read_bytes()
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match="snapshot"):
        world.parts.reconciler.fold_overrides()
    assert world.events[-1] == (Event.ROLLBACK, "ann")
    assert read_override(world.layout.overrides, ROUTE) == override
    path.rmdir()
    path.write_bytes(before)
    world.parts.reconciler.fold_overrides()
    assert read_snapshot(path).routes[ROUTE].folded_override == override.id
    assert read_override(world.layout.overrides, ROUTE) is None
    assert [event for event, _ in world.events].count(Event.ROLLBACK) == 1


def test_an_override_whose_command_and_control_died_is_folded_at_the_next_start(
    world: World,
) -> None:
    world.to_stage(Stage.R25)
    world.stop()
    world.override("rollback")
    world.start()
    assert world.rollout.stage is Stage.ROLLED_BACK
    assert world.events[-1] == (Event.ROLLBACK, "ann")
    assert world.share is None


def test_kill_switches_the_route_off_and_unkill_leads_to_a_hold(world: World) -> None:
    world.to_stage(Stage.R5)
    operations = world.parts.operations
    done = operations.order(ROUTE, "kill", actor="ann", reason="smoke", student=None)
    assert done.changed and done.student == STUDENT
    assert world.parts.rollouts.of(ROUTE).killed and world.parts.facts.candidates() == ()
    again = operations.order(ROUTE, "kill", actor="ann", reason="smoke", student=None)
    assert not again.changed
    with pytest.raises(Refused, match="reason"):
        operations.order(ROUTE, "unkill", actor="ann", reason="", student=None)
    operations.order(ROUTE, "unkill", actor="ann", reason="fixed", student=None)
    assert world.rollout.stage is Stage.HELD and world.rollout.reasons == (HeldReason.UNKILLED,)
    assert world.share is not None and world.share.weight == 0.0
    operations.order(ROUTE, "resume", actor="ann", reason="", student=None)
    assert world.rollout.stage is Stage.R1


def test_pause_and_resume_and_their_repetition(world: World) -> None:
    world.to_stage(Stage.R5)
    order = world.parts.operations.order
    assert order(ROUTE, "pause", actor="ann", reason="lunch", student=None).stage is Stage.HELD
    world.tick(3)
    assert world.rollout.stage is Stage.HELD and world.rollout.weight == 0.05
    assert not order(ROUTE, "pause", actor="ann", reason="lunch", student=STUDENT).changed
    assert order(ROUTE, "resume", actor="ann", reason="", student=None).stage is Stage.R5
    assert not order(ROUTE, "resume", actor="ann", reason="", student=STUDENT).changed


def test_a_pause_without_a_name_is_for_the_held_student_too(world: World) -> None:
    """It would go on by itself when its hold ends; one that serves nobody needs no pause."""
    world.to_stage(Stage.R5)
    alarm = Signal(
        event=Event.AVAILABILITY_ALARM,
        student=STUDENT,
        ts=time.time(),
        facts=Facts(health=Health(unreachable="refused")),
    )
    world.parts.rollouts.signal(ROUTE, alarm, world.config.routes[ROUTE].policy)
    world.register("s2-bbbb")
    paused = world.parts.operations.order(ROUTE, "pause", actor="ann", reason="", student=None)
    assert paused.student == STUDENT and paused.changed
    held = world.parts.rollouts.of(ROUTE).get(STUDENT)
    assert held is not None
    assert held.reasons == (HeldReason.AVAILABILITY, HeldReason.PAUSE)


def test_rollback_is_answered_with_the_time_it_took_and_retry_begins_anew(world: World) -> None:
    world.to_stage(Stage.R50)
    order = world.parts.operations.order
    done = order(ROUTE, "rollback", actor="ann", reason="odd", student=None)
    assert done.changed and done.rollback is not None and done.rollback.done
    assert world.rollout.stage is Stage.ROLLED_BACK and world.share is None
    again = order(ROUTE, "rollback", actor="ann", reason="odd", student=None)
    assert not again.changed
    retried = order(ROUTE, "retry", actor="ann", reason="", student=None)
    assert retried.stage is Stage.SHADOW and world.rollout.k == 2
    world.tick()
    evidence = world.parts.feeds.summary(world.config.routes[ROUTE], world.rollout, now=time.time())
    assert evidence.n == 0, "fresh evidence"


def test_a_person_rolls_back_before_the_log_was_read(world: World) -> None:
    world.to_stage(Stage.R5)
    world.stop()
    world.start()
    world.parts.reconciler.reconcile(Known())
    done = world.parts.operations.order(ROUTE, "rollback", actor="ann", reason="", student=None)
    assert done.changed and done.problem is None
    assert world.rollout.stage is Stage.ROLLED_BACK and world.share is None


def test_a_rollback_that_cannot_be_recorded_is_in_force_all_the_same(world: World) -> None:
    world.to_stage(Stage.R5)
    path = world.layout.snapshot
    path.unlink()
    path.mkdir()
    done = world.parts.operations.order(ROUTE, "rollback", actor="ann", reason="", student=None)
    assert done.changed and done.rollback is not None and done.rollback.done
    assert done.problem is not None and str(path) in done.problem
    assert read_override(world.layout.overrides, ROUTE) is not None
    assert f"It is in force, and not recorded yet: {done.problem}" in said(done)
    path.rmdir()
    world.parts.reconciler.fold_overrides()
    assert read_override(world.layout.overrides, ROUTE) is None


def test_a_rollback_beside_a_broken_event_log_says_so(world: World) -> None:
    world.to_stage(Stage.LIVE)
    world.stop()
    data = world.layout.events.read_bytes()
    world.layout.events.write_bytes(data.replace(b'"actor":"ann"', b'"actor":"bob"', 1))
    world.start()
    done = world.parts.operations.order(ROUTE, "rollback", actor="ann", reason="", student=None)
    assert done.problem is not None and "changed after it was written" in done.problem
    assert read_override(world.layout.overrides, ROUTE) is not None


def test_nobody_can_order_in_the_name_of_automation(world: World) -> None:
    world.to_stage(Stage.READY)
    report = world.parts.operations.report(ROUTE, None)
    with pytest.raises(BadInput, match="actor"):
        world.parts.operations.approve(ROUTE, report=report.sha256, actor="auto", reason="")
    with pytest.raises(BadInput, match="actor"):
        world.parts.operations.order(ROUTE, "rollback", actor="auto", reason="", student=None)
    assert world.rollout.stage is Stage.READY
