from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from control.candidates import CandidateKey
from control.collecting import Known
from control.commands.order import said
from control.errors import BadInput, Refused
from control.evidence_feed import consumed
from control.measure import Measure
from control.operations import StaleReport
from control.override import read_override
from control.snapshot_file import read_snapshot, write_snapshot
from programs.errors import LoadError
from router.errors import EvidenceError
from router.events import AUTO, Event
from router.stages import HeldReason, Stage
from tests.control.stored import ROUTE, STUDENT, config_of, put_trace
from tests.control.world import POLICY, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.stop()


def test_each_tick_moves_a_student_by_one_event_at_most(world: World) -> None:
    world.register()
    world.add_pairs(200)
    stages = []
    for _ in range(3):
        world.tick()
        stages.append(world.rollout.stage)
    assert stages == [Stage.READY] * 3, "nobody has approved"
    report = world.parts.operations.report(ROUTE, None)
    world.parts.operations.approve(ROUTE, report=report.sha256, actor="ann", reason="")
    stages = [world.rollout.stage]
    for _ in range(5):
        before = len(world.events)
        world.add_pairs(1)
        world.tick()
        stages.append(world.rollout.stage)
        assert len(world.events) <= before + 1
    assert stages == [Stage.R1, Stage.R5, Stage.R25, Stage.R50, Stage.LIVE, Stage.LIVE]
    assert world.share is not None and world.share.weight == 1.0
    assert world.share.valid_until is not None and world.share.valid_until > time.time() + 500


def test_a_tick_says_why_nothing_moves(world: World) -> None:
    world.register()
    world.add_pairs(20)
    world.tick()
    reason = world.parts.reconciler.reasons[(ROUTE, STUDENT)]
    assert "20 pairs" in reason and reason.startswith("SHADOW")
    assert world.share is None


def test_an_approval_of_another_report_is_refused_and_a_repeated_one_is_no_change(
    world: World,
) -> None:
    world.to_stage(Stage.READY)
    operations = world.parts.operations
    old = operations.report(ROUTE, None).sha256
    assert operations.report(ROUTE, None).sha256 == old, "nothing is new"
    world.add_pairs(10)
    world.tick()
    new = operations.report(ROUTE, None).sha256
    assert new != old
    with pytest.raises(StaleReport, match=new):
        operations.approve(ROUTE, report=old, actor="ann", reason="")
    assert world.rollout.stage is Stage.READY
    assert operations.approve(ROUTE, report=new, actor="ann", reason="ok").changed
    assert world.rollout.stage is Stage.R1
    again = operations.approve(ROUTE, report=new, actor="ann", reason="ok")
    assert not again.changed and world.rollout.stage is Stage.R1


def test_a_report_of_another_stage_approves_nothing(world: World) -> None:
    world.register()
    world.add_pairs(200)
    operations = world.parts.operations
    early = operations.report(ROUTE, None).sha256
    world.tick()
    assert world.rollout.stage is Stage.READY
    with pytest.raises(StaleReport):
        operations.approve(ROUTE, report=early, actor="ann", reason="")
    assert world.rollout.stage is Stage.READY


def test_a_report_names_the_configuration_in_force(world: World) -> None:
    world.to_stage(Stage.READY)
    before = world.parts.operations.report(ROUTE, None)
    world.stop()
    world.config = config_of(world.layout.data.parent, rollout=POLICY | {"approval": "every"})
    world.start()
    after = world.parts.operations.report(ROUTE, None)
    new = world.config.hash.encode()
    assert new in after.json and new not in before.json
    with pytest.raises(StaleReport):
        world.parts.operations.approve(ROUTE, report=before.sha256, actor="ann", reason="")


def test_a_quality_alarm_rolls_back_by_an_override_of_its_own(world: World) -> None:
    world.to_stage(Stage.LIVE)
    world.add_pairs(400, student=0.0)
    world.tick()
    assert world.rollout.stage is Stage.ROLLED_BACK
    assert world.events[-1] == (Event.QUALITY_ALARM, AUTO)
    last = world.parts.overrides.last(ROUTE)
    assert last is not None and last.event == "quality_alarm" and STUDENT in last.student
    assert world.share is None
    world.parts.reconciler.fold_overrides()
    snapshot = read_snapshot(world.layout.snapshot)
    assert snapshot.routes[ROUTE].folded_override is not None
    assert read_override(world.layout.overrides, ROUTE) is None
    assert world.events[-1] == (Event.QUALITY_ALARM, AUTO), "one event, not two"


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


def test_evidence_that_does_not_replay_holds_the_student_at_zero(world: World) -> None:
    world.to_stage(Stage.R25)
    key = CandidateKey(route=ROUTE, student=STUDENT, k=1)
    state = msgspec.json.decode(
        msgspec.json.encode(world.parts.feeds.of(world.config.routes[ROUTE], world.rollout)
                            .evidence.state())
    )  # fmt: skip
    state["forms"][0]["gate"]["good"]["log_wealth"][3] += 1e-6
    seq = len(consumed(world.parts.store, key))
    world.parts.store.run("forget_checkpoints", **key.params)
    world.parts.store.run(
        "insert_checkpoint", **key.params, seq=seq, ts_us=0,
        state=msgspec.json.encode(state).decode(),
    )  # fmt: skip
    world.stop()
    world.start()
    assert world.rollout.stage is Stage.HELD and world.rollout.reasons == (HeldReason.REPLAY,)
    assert world.share is not None and world.share.weight == 0.0
    events = len(world.events)
    world.tick(3)
    assert len(world.events) == events, "held once, not at every tick"
    world.parts.operations.order(ROUTE, "resume", actor="ann", reason="seen", student=None)
    world.tick()
    assert world.rollout.stage in (Stage.R25, Stage.R50) and world.rollout.weight > 0


def test_a_broken_event_log_leaves_everything_to_the_teacher(world: World) -> None:
    world.to_stage(Stage.LIVE)
    assert world.share is not None
    world.stop()
    data = world.layout.events.read_bytes()
    world.layout.events.write_bytes(data.replace(b'"actor":"ann"', b'"actor":"bob"', 1))
    world.start()
    world.tick()
    assert world.share is None
    (problem,) = world.parts.operations.status().problems
    assert "changed after it was written" in problem
    with pytest.raises(Exception, match="changed after it was written"):
        world.parts.operations.order(ROUTE, "pause", actor="ann", reason="", student=None)


def test_a_lost_artefact_ends_the_rollout(world: World) -> None:
    world.to_stage(Stage.R5)
    for path in world.layout.students.glob("*/*"):
        os.unlink(path)
    world.tick()
    assert world.rollout.stage is Stage.ROLLED_BACK and "not there any more" in world.rollout.why


def test_a_changed_bar_begins_the_evidence_afresh(world: World) -> None:
    world.to_stage(Stage.R5)
    world.stop()
    rollout = POLICY | {"retention": 0.9}
    world.config = config_of(world.config.folder, rollout=rollout)
    world.start()
    world.tick()
    assert world.rollout.stage is Stage.HELD and world.rollout.reasons == (HeldReason.CHANGED,)
    assert world.rollout.k == 2


def test_leases_are_renewed_without_a_new_version_and_end_without_control(world: World) -> None:
    world.to_stage(Stage.LIVE)
    first = read_snapshot(world.layout.snapshot)
    world.parts.writer._renewed -= 1_000
    world.tick()
    second = read_snapshot(world.layout.snapshot)
    assert second.version == first.version
    (was,), (now,) = first.routes[ROUTE].students, second.routes[ROUTE].students
    assert was.valid_until is not None and now.valid_until is not None
    assert now.valid_until > was.valid_until


def test_without_a_pair_of_its_step_nobody_goes_up(world: World) -> None:
    """Shadow evaluation may have stopped: old evidence is none about what happens now."""
    world.to_stage(Stage.R5)
    world.tick(3)
    assert world.rollout.stage is Stage.R5
    reason = world.parts.reconciler.reasons[(ROUTE, STUDENT)]
    assert reason == "R5: no scored pair since R5 began: nothing watches the quality"


def test_nothing_moves_before_the_log_was_read_up_to_the_start(world: World) -> None:
    world.to_stage(Stage.R5)
    before = lease(world)
    world.stop()
    world.start()
    assert lease(world) == before, "the earlier control's lease runs on, and no longer"
    world.add_pairs(1)
    for known in (Known(), Known(collected_to=world.parts.reconciler._started - 1)):
        world.parts.writer._renewed -= 1_000
        world.parts.reconciler.reconcile(known)
    assert world.rollout.stage is Stage.R5 and lease(world) == before
    reason = world.parts.reconciler.reasons[(ROUTE, STUDENT)]
    assert reason.startswith("R5: control has just started and must read")
    world.tick()
    assert world.rollout.stage is Stage.R25 and lease(world) > before


def test_a_person_rolls_back_before_the_log_was_read(world: World) -> None:
    world.to_stage(Stage.R5)
    world.stop()
    world.start()
    world.parts.reconciler.reconcile(Known())
    done = world.parts.operations.order(ROUTE, "rollback", actor="ann", reason="", student=None)
    assert done.changed and done.problem is None
    assert world.rollout.stage is Stage.ROLLED_BACK and world.share is None


def test_leases_end_while_nothing_is_collected(world: World) -> None:
    world.to_stage(Stage.LIVE)
    world.stop()
    # As if the lease had been given an hour ago.
    snapshot = read_snapshot(world.layout.snapshot)
    (student,) = snapshot.routes[ROUTE].students
    old = msgspec.structs.replace(student, valid_until=time.time() - 3_000)
    route = msgspec.structs.replace(snapshot.routes[ROUTE], students=(old,))
    write_snapshot(world.layout, msgspec.structs.replace(snapshot, routes={ROUTE: route}))
    world.start()
    world.parts.reconciler._started -= 3_600
    stands_since = time.time() - 900
    for _ in range(2):
        world.parts.writer._renewed -= 1_000
        world.parts.reconciler.reconcile(Known(collected_to=stands_since))
        assert lease(world) == pytest.approx(stands_since + 605, abs=0.01)
    reason = world.parts.reconciler.reasons[(ROUTE, STUDENT)]
    assert "no lease is renewed, as nothing has been collected since" in reason
    # A pass that takes seconds is nothing unusual.
    world.parts.writer._renewed -= 1_000
    world.parts.reconciler.reconcile(Known(collected_to=time.time() - 4))
    assert lease(world) > time.time() + 590


def test_a_metric_that_cannot_be_used_ends_the_leases(tmp_path: Path) -> None:
    (tmp_path / "own_metric.py").write_text(
        "import pathlib\n"
        "pathlib.Path(__file__).with_name('weights').read_text()\n"
        "def score(example, prediction, trace=None):\n"
        "    return 1.0\n"
    )
    weights = tmp_path / "weights"
    world = World(tmp_path, metric="own_metric:score")
    try:
        world.to_stage(Stage.LIVE)
        measure = world.parts.measures[ROUTE]
        with pytest.raises(LoadError, match="weights"):
            asyncio.run(measure.mark([]))
        assert measure.fault is not None
        ends = measure.fault.since + 600
        for _ in range(2):
            world.parts.writer._renewed -= 1_000
            world.tick()
            assert lease(world) <= ends
        reason = world.parts.reconciler.reasons[(ROUTE, STUDENT)]
        assert "no lease is renewed, as nothing has been scored since" in reason
        assert "weights" in reason
        weights.touch()
        asyncio.run(_mark_and_close(measure))
        assert measure.fault is None
        world.parts.writer._renewed -= 1_000
        world.tick()
        assert lease(world) > ends
    finally:
        world.stop()


async def _mark_and_close(measure: Measure) -> None:
    await measure.mark([])
    await measure.close()


def test_a_report_is_the_current_one_across_a_restart(world: World) -> None:
    world.to_stage(Stage.READY)
    read = world.parts.operations.report(ROUTE, None)
    world.stop()
    world.start()
    again = world.parts.operations.report(ROUTE, None)
    assert again == read, "the same page, too"
    # What a person has read stays the current one until a newer one is made.
    world.add_pairs(5)
    world.stop()
    world.start()
    world.tick()
    assert world.parts.operations.approve(ROUTE, report=read.sha256, actor="ann", reason="").changed
    assert world.rollout.stage is Stage.R1


def test_the_same_evidence_has_the_same_name_whenever_it_is_written(world: World) -> None:
    world.to_stage(Stage.READY)
    read = world.parts.operations.report(ROUTE, None)
    world.stop()
    world.start()
    world.parts.reports._newest[ROUTE, STUDENT] = None
    put_trace(world.parts.store, time.time())
    again = world.parts.operations.report(ROUTE, None)
    assert again.sha256 == read.sha256 and again.json != read.json
    assert world.parts.operations.approve(ROUTE, report=read.sha256, actor="a", reason="").changed


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


def lease(world: World, route: str = ROUTE) -> float:
    (student,) = read_snapshot(world.layout.snapshot).routes[route].students
    assert student.valid_until is not None
    return student.valid_until


def test_evidence_that_cannot_be_read_ends_the_leases_of_its_route_alone(tmp_path: Path) -> None:
    world = World(tmp_path, routes=(ROUTE, "other"))
    try:
        world.to_stage(Stage.LIVE, route="other")
        world.to_stage(Stage.LIVE)
        before, others = lease(world), lease(world, "other")
        world.add_pairs(1, teacher=7.0)
        world.parts.writer._renewed -= 1_000
        with pytest.raises(EvidenceError, match="must lie in"):
            world.tick()
        assert lease(world) == before and lease(world, "other") > others
        # Orders renew nothing either.
        world.parts.writer._renewed -= 1_000
        world.parts.operations.order(ROUTE, "pause", actor="ann", reason="", student=None)
        assert lease(world) == before
    finally:
        world.stop()


def test_a_student_that_nothing_scores_any_more_gets_no_traffic(tmp_path: Path) -> None:
    metric = tmp_path / "own_metric.py"
    good = "def score(example, prediction, trace=None):\n    return 1.0\n"
    metric.write_text(good)
    world = World(tmp_path, metric="own_metric:score")
    try:
        world.to_stage(Stage.LIVE)
        world.stop()
        metric.write_text("def score(:\n")
        world.start()
        assert world.share is not None and world.share.weight == 0.0
        (problem,) = world.parts.operations.status().problems
        assert "own_metric.py, line 1" in problem
        world.stop()
        metric.write_text(good)
        world.start()
        assert world.share.weight == 1.0
    finally:
        world.stop()


def test_nobody_can_order_in_the_name_of_automation(world: World) -> None:
    world.to_stage(Stage.READY)
    report = world.parts.operations.report(ROUTE, None)
    with pytest.raises(BadInput, match="actor"):
        world.parts.operations.approve(ROUTE, report=report.sha256, actor="auto", reason="")
    with pytest.raises(BadInput, match="actor"):
        world.parts.operations.order(ROUTE, "rollback", actor="auto", reason="", student=None)
    assert world.rollout.stage is Stage.READY


def test_an_extended_search_leaves_no_request_out(tmp_path: Path) -> None:
    """What came between the last draw and the order is evidence like everything else."""
    world = World(tmp_path, rollout=POLICY | {"max_pairs": 150})
    try:
        world.register()
        (before,) = world.parts.facts.candidates()
        world.add_pairs(160, student=0.95)
        world.tick()
        assert world.rollout.stage is Stage.INCONCLUSIVE
        world.parts.operations.order(ROUTE, "extend", actor="ann", reason="", student=None)
        (after,) = world.parts.facts.candidates()
        assert world.rollout.marks.cap_from > world.rollout.marks.since == after.since
        assert after.since == before.since
    finally:
        world.stop()


def test_status_says_everything_at_once(world: World) -> None:
    world.to_stage(Stage.R5)
    status = world.parts.operations.status()
    (route,) = status.routes
    (student,) = route.students
    assert (student.student, student.stage, student.weight) == (STUDENT, Stage.R5, 0.05)
    assert student.evidence is not None and student.evidence.n == 201
    assert route.distil_waits == "for `limbeck distill greet`"
    decoded = msgspec.json.decode(msgspec.json.encode(status), type=type(status))
    assert decoded.snapshot_version == read_snapshot(world.layout.snapshot).version


@pytest.mark.parametrize("stage", [Stage.READY, Stage.R5, Stage.LIVE])
def test_a_restart_right_after_an_event_changes_nothing(world: World, stage: Stage) -> None:
    world.to_stage(stage)
    before = world.rollout
    world.stop()
    world.start()
    assert world.rollout == before
    world.add_pairs(50)
    world.tick()
    assert HeldReason.REPLAY not in world.rollout.reasons
