from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
import pytest

from control.collecting import Known
from control.measure import Answer, Measure
from control.snapshot_file import read_snapshot, write_snapshot
from distiller.exam import ToScore
from programs.errors import LoadError
from router.errors import EvidenceError
from router.stages import Stage
from tests.control.stored import ROUTE, STUDENT
from tests.control.world import AHEAD, World


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
        assert world.lease() == pytest.approx(stands_since + 605, abs=0.01)
    reason = world.parts.reconciler.reasons[(ROUTE, STUDENT)]
    assert "no lease is renewed, as nothing has been collected since" in reason
    # A pass that takes seconds is nothing unusual.
    world.parts.writer._renewed -= 1_000
    world.parts.reconciler.reconcile(Known(collected_to=time.time() - 4))
    assert world.lease() > time.time() + 590


async def _mark_and_close(measure: Measure) -> None:
    await measure.mark([])
    await measure.close()


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
            assert world.lease() <= ends
        reason = world.parts.reconciler.reasons[(ROUTE, STUDENT)]
        assert "no lease is renewed, as nothing has been scored since" in reason
        assert "weights" in reason
        weights.touch()
        asyncio.run(_mark_and_close(measure))
        assert measure.fault is None
        world.parts.writer._renewed -= 1_000
        world.tick()
        assert world.lease() > ends
    finally:
        world.stop()


_RAISES = """import pathlib
expired = pathlib.Path(__file__).with_name("expired")
def score(example, prediction, trace=None):
    if expired.exists():
        raise RuntimeError("401 from the judge")
    return 1.0
"""
_ANSWER = Answer(request='{"messages": [{"role": "user", "content": "hi"}]}', answer="hello")


async def test_a_metric_that_scores_nothing_ends_the_leases(tmp_path: Path) -> None:
    (tmp_path / "own_metric.py").write_text(_RAISES)
    expired = tmp_path / "expired"
    world = World(tmp_path, metric="own_metric:score")
    try:
        world.to_stage(Stage.LIVE)
        measure = world.parts.measures[ROUTE]
        expired.touch()
        before = time.time()
        await measure.mark([_ANSWER] * 19)
        assert measure.faults == (), "some answers in a row may be bad luck"
        world.parts.writer._renewed -= 1_000
        world.tick()
        assert world.lease() > time.time() + 590
        renewed = world.lease()
        await measure.mark([_ANSWER])
        (fault,) = measure.faults
        assert before <= fault.since < time.time()
        for _ in range(2):
            world.parts.writer._renewed -= 1_000
            await measure.mark([])
            world.tick()
            assert world.lease() == renewed
        (student,) = world.parts.operations.status().routes[0].students
        assert "no lease is renewed, as nothing has been scored since" in student.why
        assert "RuntimeError: 401 from the judge" in student.why
        expired.unlink()
        await measure.mark([_ANSWER])
        assert measure.faults == ()
        world.parts.writer._renewed -= 1_000
        world.tick()
        assert world.lease() > renewed
        await measure.close()
    finally:
        world.stop()


async def test_an_exam_that_nobody_passes_ends_no_lease(tmp_path: Path) -> None:
    (tmp_path / "own_metric.py").write_text(_RAISES)
    (tmp_path / "expired").touch()
    world = World(tmp_path, metric="own_metric:score")
    try:
        measure = world.parts.measures[ROUTE]
        row = ToScore(request=_ANSWER.request, answer="{", gold=None)
        scored = await world.parts.clients.score(ROUTE, [row] * 30)
        assert {one.score for one in scored} == {None} and measure.faults == ()
        await measure.close()
    finally:
        world.stop()


@pytest.mark.parametrize("collected_to", [AHEAD, 0.0], ids=["all read", "nothing read"])
def test_a_clock_that_was_set_back_lengthens_no_lease(world: World, collected_to: float) -> None:
    """Set back behind control's start, it looks as if the log had not been read up to there."""
    world.to_stage(Stage.LIVE)
    # As if all this had happened before the clock was set back by an hour.
    world.parts.reconciler._watched[ROUTE] += 3_600
    world.parts.writer._renewed -= 1_000
    world.parts.reconciler.publish()
    world.parts.writer._renewed += 3_600
    assert world.lease() > time.time() + 4_000
    world.parts.reconciler.reconcile(Known(collected_to=collected_to))
    assert world.lease() <= time.time() + 600


def test_evidence_that_cannot_be_read_ends_the_leases_of_its_route_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path, routes=(ROUTE, "other"))
    try:
        world.to_stage(Stage.LIVE, route="other")
        world.to_stage(Stage.LIVE)
        before, others = world.lease(), world.lease("other")
        world.add_pairs(1, teacher=7.0)
        world.parts.writer._renewed -= 1_000
        for _ in range(3):
            with pytest.raises(EvidenceError, match="must lie in"):
                world.tick()
        assert caplog.text.count("stays as it is, and its leases end") == 1, "it is said once"
        assert world.lease() == before and world.lease("other") > others
        # Orders renew nothing either.
        world.parts.writer._renewed -= 1_000
        world.parts.operations.order(ROUTE, "pause", actor="ann", reason="", student=None)
        assert world.lease() == before
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
