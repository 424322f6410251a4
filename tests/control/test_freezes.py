from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from control.config.values import Config
from control.errors import Refused
from control.freezes import Freezes, Loss, freeze
from control.report import words
from router.events import AUTO, Event
from router.stages import HeldReason, Stage
from tests.control.stored import ROUTE, config_of
from tests.control.world import POLICY, World
from traces.record import Gap, pack
from traces.spool import SpoolWriter
from traces.store.errors import DiskFullError

NOW = 1_700_000_000.0


def test_the_loss_that_lasts_longest_decides() -> None:
    losses = [Loss(NOW - 500, "old"), Loss(NOW - 100, "new")]
    assert freeze(losses, settle_s=300, now=NOW) == (
        "new; nothing goes up until 2023-11-14 22:16:40 UTC"
    )
    assert freeze(losses, settle_s=100, now=NOW) is None
    assert freeze([], settle_s=300, now=NOW) is None
    going_on = [*losses, Loss(float("inf"), "the disk is full")]
    assert freeze(going_on, settle_s=0, now=NOW) == (
        "the disk is full; nothing goes up until 0 s after that"
    )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, rollout=POLICY | {"settle_s": 300})
    yield world
    world.stop()


def report_gap(world: World, *, ago_s: float, now: float | None = None, **dropped: int) -> float:
    """As a worker that has room again; returns the gap's end."""
    end = round((now or time.time()) - ago_s)
    writer = SpoolWriter(world.layout.spool)
    gap = Gap(worker="w1", from_us=(end - 20) * 1_000_000, to_us=end * 1_000_000, dropped=dropped)
    writer.append(pack(gap))
    writer.close()
    world.parts.collecting.step()
    return end


def why(world: World) -> str | None:
    freezes: Freezes = world.parts.facts._freezes
    return freezes.of(world.config.routes[ROUTE])


def restart(world: World, config: Config | None = None) -> None:
    world.stop()
    world.config = config or world.config
    world.start()


def with_gateway(config: Config, **values: int) -> Config:
    gateway = msgspec.structs.replace(config.gateway, **values)
    return msgspec.structs.replace(config, gateway=gateway)


def test_a_gap_freezes_for_a_while_also_across_a_restart(world: World) -> None:
    assert why(world) is None
    now = time.time()
    report_gap(world, ago_s=60, now=now, reserve=1)
    end = report_gap(world, ago_s=50, now=now, quota=300, reserve=11)
    frozen = (
        f"312 records of requests and labels, {words.moment(end - 30)} to {words.moment(end)} UTC, "
        "are missing: the spool was at its limit, the disk was nearly full; "
        f"nothing goes up until {words.moment(end + 300)} UTC"
    )
    assert why(world) == frozen
    restart(world)
    assert why(world) == frozen
    restart(world, config_of(world.config.folder, rollout=POLICY | {"settle_s": 40}))
    assert why(world) is None


def test_an_old_gap_freezes_nothing(world: World) -> None:
    report_gap(world, ago_s=400, quota=3)
    assert why(world) is None


def test_a_damaged_segment_freezes_for_a_while(world: World) -> None:
    path = world.layout.spool / "quarantine" / "w1-00000001.seg"
    path.parent.mkdir()
    path.write_bytes(b"damaged")
    frozen = why(world)
    assert frozen is not None and path.name in frozen
    os.utime(path, (NOW, NOW))
    assert why(world) is None


def test_a_full_spool_freezes_and_then_for_a_while(world: World) -> None:
    restart(world, with_gateway(world.config, max_spool_mb=16))
    filling = world.layout.spool / "w1-00000001.seg"
    filling.write_bytes(bytes(9 << 20))
    frozen = why(world)
    assert frozen is not None and "limit of 16 MB" in frozen and "5 min after that" in frozen
    filling.unlink()
    # The worker says how much is missing with its next record, so not yet.
    frozen = why(world)
    assert frozen is not None and "there was no room" in frozen and " UTC" in frozen


def test_a_full_disk_freezes(world: World) -> None:
    restart(world, with_gateway(world.config, min_free_mb=1 << 40))
    frozen = why(world)
    assert frozen is not None and "gateway.min_free_mb" in frozen
    with pytest.raises(DiskFullError):
        world.parts.collecting.step()
    assert world.parts.collecting.disk_full is not None
    frozen = why(world)
    assert frozen is not None and "nothing is collected" in frozen
    restart(world, with_gateway(world.config, min_free_mb=0))
    world.parts.collecting.step()
    assert world.parts.collecting.disk_full is None and why(world) is None


def test_nothing_goes_up_in_a_freeze_and_a_rollback_does_not_mind(world: World) -> None:
    world.to_stage(Stage.R1)
    report_gap(world, ago_s=100, quota=2)
    world.add_pairs(1)
    world.tick(3)
    assert world.rollout.stage is Stage.HELD and world.rollout.reasons == (HeldReason.FREEZE,)
    assert world.rollout.weight == 0.01
    ((student,),) = (route.students for route in world.parts.operations.status().routes)
    assert "2 records of requests and labels" in student.why
    with pytest.raises(Refused, match="freeze"):
        world.parts.operations.order(ROUTE, "resume", actor="ann", reason="", student=None)
    # It ends by itself.
    restart(world, config_of(world.config.folder, rollout=POLICY | {"settle_s": 90}))
    world.tick()
    assert world.rollout.stage is Stage.R1 and world.events[-1] == (Event.FREEZE_END, AUTO)
    report_gap(world, ago_s=10, quota=2)
    world.tick()
    assert world.rollout.stage is Stage.HELD
    world.parts.operations.order(ROUTE, "rollback", actor="ann", reason="odd", student=None)
    assert world.rollout.stage is Stage.ROLLED_BACK


def test_nobody_approves_in_a_freeze(world: World) -> None:
    world.to_stage(Stage.READY)
    report_gap(world, ago_s=10, quota=2)
    report = world.parts.operations.report(ROUTE, None)
    with pytest.raises(Refused, match="a freeze is in force"):
        world.parts.operations.approve(ROUTE, report=report.sha256, actor="ann", reason="")
