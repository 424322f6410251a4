from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from control.collecting import Known
from control.errors import FileProblem
from control.override import GUARD, KILL, QUALITY_ALARM, ROLLBACK, override_path, read_override
from router.events import AUTO, Event
from router.snapshot import Snapshot
from router.stages import Stage
from tests.control.stored import ROUTE, STUDENT
from tests.control.world import World
from tests.fakes import gateway_worker
from tests.polling import until


@pytest.fixture
def workers(world: World) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two processes that hold their acknowledgements and obey overrides."""
    processes = [
        subprocess.Popen(
            [sys.executable, gateway_worker.__file__, str(world.layout.data), name],
            stdout=subprocess.PIPE,
            cwd=Path(gateway_worker.__file__).parents[2],
            env={"PYTHONPATH": "."},
        )
        for name in ("w1", "w2")
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.usefixtures("workers")
def test_a_rollback_is_timed_to_the_last_worker_and_remembered(world: World) -> None:
    world.to_stage(Stage.LIVE)
    done = world.parts.operations.order(ROUTE, "rollback", actor="ann", reason="odd", student=None)
    assert done.rollback is not None
    assert done.rollback.workers == ("w1", "w2") and done.rollback.missing == ()
    assert done.rollback.seconds is not None and done.rollback.seconds >= 0.0
    # A drill with nothing serving is timed as well, and does not hide the real one.
    drill = world.parts.operations.order(
        ROUTE, "rollback", actor="bob", reason="drill", student=None
    )
    assert drill.rollback is not None and drill.rollback.actor == "bob"
    world.stop()
    world.start()
    last = world.parts.overrides.last(ROUTE)
    assert last is not None and (last.actor, last.student) == ("ann", STUDENT)
    assert last.seconds == done.rollback.seconds


@pytest.mark.usefixtures("workers")
def test_a_quality_alarm_is_timed_too(world: World) -> None:
    world.to_stage(Stage.LIVE)
    world.add_pairs(400, student=0.0)
    world.tick()
    last = until(
        lambda: (found := world.parts.overrides.last(ROUTE)) and found.done and found,
        what="the workers have acknowledged",
    )
    assert last.event == "quality_alarm" and last.workers == ("w1", "w2")
    assert last.seconds is not None and last.seconds >= 0.0


def test_a_rollback_is_about_everybody_also_beside_an_alarm(world: World) -> None:
    """A challenger's alarm after the command must not pass for the whole rollback."""
    world.to_stage(Stage.R50)
    override = world.override(ROLLBACK)
    world.add_pairs(400, student=0.0)
    world.parts.feeds.read(world.config.routes[ROUTE], Known(collected_to=time.time() + 60))
    world.parts.reconciler._decide(world.config.routes[ROUTE], STUDENT)
    assert world.events[-1] == (Event.QUALITY_ALARM, AUTO)
    world.parts.reconciler.fold_overrides()
    assert world.events[-1] == (Event.ROLLBACK, "ann")
    snapshot: Snapshot | None = world.parts.writer.current
    assert snapshot is not None and snapshot.routes[ROUTE].folded_override == override.id


def test_an_order_that_comes_after_another_was_folded_is_left_in_force(world: World) -> None:
    world.to_stage(Stage.LIVE)
    folded = world.override(ROLLBACK)
    world.parts.reconciler.fold_overrides()
    assert read_override(world.layout.overrides, ROUTE) is None
    newer = world.override(KILL)
    path = override_path(world.layout.overrides, ROUTE)
    before = path.stat()
    world.parts.overrides.remove_folded({ROUTE: folded.id})
    assert read_override(world.layout.overrides, ROUTE) == newer
    assert path.stat().st_ctime_ns == before.st_ctime_ns
    world.parts.reconciler.fold_overrides()
    assert not path.exists() and world.parts.rollouts.of(ROUTE).killed


def test_a_crash_between_the_events_of_two_students_is_repaired(world: World) -> None:
    world.to_stage(Stage.LIVE)
    world.register("s2-bbbb")
    world.add_pairs(200)
    world.tick()
    report = world.parts.operations.report(ROUTE, "s2-bbbb")
    world.parts.operations.approve(ROUTE, report=report.sha256, actor="ann", reason="")
    assert [r.stage for r in world.parts.rollouts.of(ROUTE).rollouts] == [Stage.LIVE, Stage.R1]
    world.override(KILL)
    route = world.config.routes[ROUTE]
    before = world.parts.log.last_seq
    world.parts.overrides.fold(route)
    # As if control had died after the first of the events.
    world.stop()
    path = world.layout.events
    rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(rows[: before + 2]))
    world.start()
    state = world.parts.rollouts.of(ROUTE)
    assert state.killed and [r.stage for r in state.rollouts] == [Stage.KILLED, Stage.KILLED]
    assert read_override(world.layout.overrides, ROUTE) is None


def test_an_order_that_a_crash_left_aside_is_folded_at_the_next_start(world: World) -> None:
    world.to_stage(Stage.LIVE)
    world.stop()
    world.override(KILL)
    path = override_path(world.layout.overrides, ROUTE)
    # As if control had moved it aside, found that it is not the one it had folded, and died.
    path.rename(path.with_name(f".{path.name}.0123abcd.aside"))
    world.start()
    assert world.parts.rollouts.of(ROUTE).killed and world.rollout.stage is Stage.KILLED
    assert list(world.layout.overrides.iterdir()) == []


@pytest.mark.parametrize("alarms", [True, False])
def test_an_alarm_whose_control_died_ends_its_own_student_alone(world: World, alarms: bool) -> None:
    world.to_stage(Stage.LIVE)
    world.register("s2-bbbb")
    world.add_pairs(200)
    world.tick()
    if alarms:
        world.add_pairs(400, student=0.0, of=STUDENT)
        world.parts.feeds.read(world.config.routes[ROUTE], Known(collected_to=time.time() + 60))
    # Written, and control died before the event.
    world.parts.overrides.write(
        ROUTE, QUALITY_ALARM, actor=GUARD, reason="quality: worse", now=time.time(), student=STUDENT
    )
    world.stop()
    world.start()
    stages = [rollout.stage for rollout in world.parts.rollouts.of(ROUTE).rollouts]
    assert stages == [Stage.ROLLED_BACK, Stage.READY]
    # Where the evidence does not say so any more, it was raised and obeyed all the same.
    logged = (Event.QUALITY_ALARM, AUTO) if alarms else (Event.ROLLBACK, GUARD)
    assert world.events[-1] == logged
    assert read_override(world.layout.overrides, ROUTE) is None
    last = world.parts.overrides.last(ROUTE)
    assert last is not None and (last.event, last.student) == ("quality_alarm", STUDENT)


def test_an_alarm_takes_no_persons_order_away(world: World) -> None:
    world.to_stage(Stage.LIVE)
    asked = world.override(ROLLBACK)
    alarm = world.parts.overrides.write(
        ROUTE, QUALITY_ALARM, actor=GUARD, reason="quality: worse", now=time.time(), student=STUDENT
    )
    assert alarm == asked == read_override(world.layout.overrides, ROUTE)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"id":"1","action":"stop","route":"greet","actor":"a","reason":"","time":1}', "stop"),
        (b'{"id":"1","action":"quality_alarm","route":"greet","actor":"a","reason":"","time":1}',
         "names no student"),
        (b"{", "can't be read"),
        (b"\xff\xfe", "can't be read"),
    ],
)  # fmt: skip
def test_a_file_that_says_nothing_is_named_and_holds_up_no_other_route(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    world = World(tmp_path, routes=(ROUTE, "other"))
    try:
        world.to_stage(Stage.R5, route="other")
        path = override_path(world.layout.overrides, ROUTE)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        world.override(ROLLBACK)
        for _ in range(2):
            with pytest.raises(FileProblem, match=problem):
                world.parts.reconciler.fold_overrides()
        assert world.rollout.stage is Stage.ROLLED_BACK
        world.stop()
        world.start()
        (said,) = world.parts.operations.status().problems
        assert str(path) in said and f"limbeck rollback {ROUTE}" in said
        done = world.parts.operations.order(ROUTE, "rollback", actor="ann", reason="", student=None)
        assert done.problem is None and not path.exists()
        assert world.parts.operations.status().problems == ()
    finally:
        world.stop()
