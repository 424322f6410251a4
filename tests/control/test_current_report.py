from __future__ import annotations

import time

import pytest

from control.operations import StaleReport
from router.stages import Stage
from tests.control.stored import ROUTE, STUDENT, config_of, put_trace
from tests.control.world import POLICY, World


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
    with pytest.raises(StaleReport, match=new[:12]):
        operations.approve(ROUTE, report=old, actor="ann", reason="")
    assert world.rollout.stage is Stage.READY
    assert operations.approve(ROUTE, report=new, actor="ann", reason="ok").changed
    assert world.rollout.stage is Stage.R1
    again = operations.approve(ROUTE, report=new, actor="ann", reason="ok")
    assert not again.changed and world.rollout.stage is Stage.R1


def test_as_much_of_the_hash_as_is_shown_is_enough(world: World) -> None:
    operations = world.parts.operations
    world.to_stage(Stage.READY)
    report = operations.report(ROUTE, None).sha256
    for given in (report[:11], report[:12] + "g", report + "0", ""):
        with pytest.raises(StaleReport, match="read `limbeck report"):
            operations.approve(ROUTE, report=given, actor="ann", reason="")
    assert operations.approve(ROUTE, report=report[:12], actor="ann", reason="").changed
    assert world.rollout.stage is Stage.R1 and world.rollout.report == report
    again = operations.approve(ROUTE, report=report[:12], actor="ann", reason="")
    assert not again.changed


def test_an_approval_where_nobody_waits_for_one(world: World) -> None:
    world.register()
    with pytest.raises(StaleReport, match=f"no student of {ROUTE} waits for an approval"):
        world.parts.operations.approve(ROUTE, report="0" * 64, actor="ann", reason="")


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
