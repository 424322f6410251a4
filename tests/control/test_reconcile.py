from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

from control.candidates import CandidateKey
from control.collecting import Known
from control.errors import ControlError
from control.evidence_feed import consumed
from control.override import override_path, read_override
from control.snapshot_file import read_snapshot
from router.events import AUTO, Event
from router.stages import HeldReason, Stage
from tests.control.stored import ROUTE, STUDENT, config_of
from tests.control.world import POLICY, World


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
    assert "after 20 of at least 100 pairs" in reason and reason.startswith("SHADOW")
    assert world.share is None


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


def test_a_quality_alarm_whose_override_cannot_be_written_is_recorded_all_the_same(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.to_stage(Stage.LIVE)
    world.add_pairs(400, student=0.0)
    override_path(world.layout.overrides, ROUTE).mkdir(parents=True)
    world.tick()
    assert world.rollout.stage is Stage.ROLLED_BACK and world.share is None
    assert world.events[-1] == (Event.QUALITY_ALARM, AUTO)
    assert "NOT in force" in caplog.text


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
    with pytest.raises(ControlError, match="changed after it was written"):
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


def test_without_a_pair_of_its_step_nobody_goes_up(world: World) -> None:
    """Shadow evaluation may have stopped: old evidence is none about what happens now."""
    world.to_stage(Stage.R5)
    world.tick(3)
    assert world.rollout.stage is Stage.R5
    reason = world.parts.reconciler.reasons[(ROUTE, STUDENT)]
    assert reason == "R5: no scored pair since R5 began: nothing watches the quality"


def test_nothing_moves_before_the_log_was_read_up_to_the_start(world: World) -> None:
    world.to_stage(Stage.R5)
    before = world.lease()
    world.stop()
    world.start()
    assert world.lease() == before, "the earlier control's lease runs on, and no longer"
    world.add_pairs(1)
    for known in (Known(), Known(collected_to=world.parts.reconciler._started - 1)):
        world.parts.writer._renewed -= 1_000
        world.parts.reconciler.reconcile(known)
    assert world.rollout.stage is Stage.R5 and world.lease() == before
    reason = world.parts.reconciler.reasons[(ROUTE, STUDENT)]
    assert reason.startswith("R5: control has just started and must read")
    world.tick()
    assert world.rollout.stage is Stage.R25 and world.lease() > before


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
