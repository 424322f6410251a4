"""What a step of the ramp needs, on real evidence."""

from __future__ import annotations

from pathlib import Path

from control.config.values import Config
from router.events import Event
from router.stages import Stage
from tests.control.stored import ROUTE, STUDENT, config_of
from tests.control.world import POLICY, World


def reason(world: World) -> str:
    return world.parts.reconciler.reasons[(ROUTE, STUDENT)]


def test_labels_that_stop_coming_stop_the_ramp_whatever_was_proved_before(world: World) -> None:
    """The few labels that still come may be those of easy requests."""
    world.to_stage(Stage.R1)
    world.add_pairs(8, outcome="unlabelled")
    world.add_pairs(2)
    world.tick(3)
    assert world.rollout.stage is Stage.R1
    assert reason(world) == "R1: label coverage 0.200 since R1 began is below 0.90"
    world.add_pairs(70)
    world.tick()
    assert world.rollout.stage is Stage.R5, "they come again"


def test_what_stands_against_promotion_stands_against_every_step(world: World) -> None:
    world.to_stage(Stage.R1)
    world.add_pairs(1)
    world.add_pairs(60, outcome="not_scored")
    world.tick(2)
    assert world.rollout.stage is Stage.R1
    assert "label coverage 0.770 is below 0.90" in reason(world)


def test_a_student_is_not_approved_while_its_labels_do_not_come(world: World) -> None:
    world.to_stage(Stage.READY)
    world.add_pairs(20, outcome="unlabelled")
    world.tick()
    assert "label coverage 0.000 since READY began is below 0.90" in reason(world)


def dry(tmp_path: Path, *, on: bool) -> Config:
    step = {"served": 100, "dwell_s": 0}
    steps = {"r1": step, "r5": step, "r25": step, "r50": step}
    return config_of(tmp_path, rollout=POLICY | {"dry_run": on, "steps": steps})


def test_a_dry_run_reaches_live_without_traffic_and_begins_at_ready_when_it_ends(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    try:
        world.stop()
        world.config = dry(tmp_path, on=True)
        world.start()
        world.to_stage(Stage.LIVE)
        assert world.rollout.dry and world.rollout.weight == 0.0
        world.stop()
        world.config = dry(tmp_path, on=False)
        world.start()
        world.tick()
        assert (world.rollout.stage, world.rollout.dry) == (Stage.READY, False)
        assert world.events[-1] == (Event.DRY_RUN_ENDED, "auto")
    finally:
        world.stop()
