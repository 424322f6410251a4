from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from control.errors import Refused
from distiller import distillations
from distiller.distillations import Stage
from router.stages import Stage as RolloutStage
from tests.control.stored import ROUTE, STUDENT, put_gold, put_student, put_trace
from tests.control.world import World
from traces.times import from_seconds

DISTIL = {"after_rows": 10, "schedule": "0 3 * * *"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, distill=DISTIL)
    yield world
    world.stop()


def put_rows(world: World, n: int) -> None:
    """Requests that a training job could use: in the train buckets, with gold."""
    version = world.parts.programs.version(ROUTE)
    for _ in range(n):
        trace_id = put_trace(world.parts.store, time.time(), program_version=version)
        put_gold(world.parts.store, trace_id, "HELLO", ts=time.time() - 30)


def start_due(world: World) -> None:
    world.parts.distilling.start_due(world.config.routes[ROUTE], time.time())


def asked(world: World) -> list[distillations.Distillation]:
    return distillations.recent(world.parts.store, ROUTE)


def end(world: World, *, chosen: str | None) -> None:
    (running,) = distillations.unfinished(world.parts.store)
    distillations.move(
        world.parts.store, running, now=time.time(), stage=Stage.ENDED, chosen=chosen, reason="end"
    )


def test_a_distillation_starts_by_itself_when_there_are_enough_rows(world: World) -> None:
    put_rows(world, 9)
    start_due(world)
    assert asked(world) == []
    (status,) = world.parts.operations.status().routes
    assert status.distil_waits == "the first student needs 10 usable training rows, there are 9"
    put_rows(world, 1)
    start_due(world)
    start_due(world)
    (one,) = asked(world)
    assert one.asked.spec.route == ROUTE and one.asked.spec.metric_hash
    (status,) = world.parts.operations.status().routes
    assert status.distillation is not None and status.distillation.stage == "requested"


@pytest.mark.parametrize("output", ["text", "json"])
def test_the_dataset_is_told_how_the_route_answers(tmp_path: Path, output: str) -> None:
    world = World(tmp_path, distill=DISTIL, output=output)
    put_rows(world, 10)
    start_due(world)
    (one,) = asked(world)
    world.stop()
    assert one.asked.spec.as_json is (output == "json")


def test_without_a_candidate_the_next_one_waits_for_more_rows(world: World) -> None:
    put_rows(world, 10)
    start_due(world)
    end(world, chosen=None)
    start_due(world)
    assert len(asked(world)) == 1
    put_rows(world, 3)
    start_due(world)
    assert len(asked(world)) == 2


def test_a_chosen_candidate_is_registered_once_and_holds_the_next_one_back(world: World) -> None:
    put_rows(world, 10)
    start_due(world)
    put_student(world.layout)
    end(world, chosen=STUDENT)
    world.tick(2)
    assert [(r.student, r.stage) for r in world.parts.rollouts.of(ROUTE).rollouts] == [
        (STUDENT, RolloutStage.SHADOW)
    ]
    put_rows(world, 20)
    route = world.config.routes[ROUTE]
    waits = world.parts.distilling.why_not(route, now=time.time())
    assert waits == f"student {STUDENT} is SHADOW; the next one follows when it is gone"
    (candidate,) = world.parts.facts.candidates()
    assert candidate.on_student.target.model == f"{ROUTE}.answer@{STUDENT}"
    assert candidate.since == pytest.approx(time.time(), abs=30)


def test_by_hand_a_running_one_is_found_instead_of_a_second(world: World) -> None:
    first = world.parts.operations.distil(ROUTE, trainer="classifier")
    again = world.parts.operations.distil(ROUTE, trainer=None)
    assert first.changed and not again.changed
    assert first.distillation_id == again.distillation_id
    assert asked(world)[0].asked.trainer == "classifier"


def put_score(world: World, score: float | None, why: str | None = None) -> str:
    """A request of the train buckets, and what the metric said about its answer."""
    trace_id = put_trace(world.parts.store, time.time())
    at = from_seconds(time.time())
    hashed = world.parts.operations.status().routes[0].metric_hash
    row = (trace_id, at, ROUTE, "served", hashed, score, why)
    world.parts.store.append("scores", [row])
    return trace_id


def test_a_metric_that_fails_on_everything_is_told_before_any_training(world: World) -> None:
    put_rows(world, 10)
    why = "AttributeError: example has no 'category'"
    for reason in (why, "KeyError: 'a'", why):
        put_score(world, None, reason)
    (status,) = world.parts.operations.status().routes
    assert (status.not_scored, status.why_not_scored, status.why_not_scored_n) == (3, why, 2)
    said = f"the metric scored none of 3 answers ({why}, 2 of them): mend the metric or the labels"
    assert status.distil_waits is not None and status.distil_waits.startswith(said)
    with pytest.raises(Refused, match=re.escape(said)):
        world.parts.operations.distil(ROUTE, trainer=None)
    start_due(world)
    assert asked(world) == []
    put_score(world, 1.0)
    start_due(world)
    assert len(asked(world)) == 1


def test_labels_of_a_students_answers_are_counted_by_themselves(world: World) -> None:
    store = world.parts.store
    for served_by in ("teacher", "student", "student"):
        trace_id = put_trace(store, time.time(), served_by=served_by)
        put_gold(store, trace_id, "HELLO", ts=time.time())
    (status,) = world.parts.operations.status().routes
    assert (status.labelled, status.labelled_student) == (3, 2)


def test_without_a_metric_nothing_can_be_distilled(tmp_path: Path) -> None:
    world = World(tmp_path, metric=None, feedback={})
    with pytest.raises(Refused, match="no metric"):
        world.parts.operations.distil(ROUTE, trainer=None)
    (status,) = world.parts.operations.status().routes
    assert status.metric is None
    # The same words as the refusal's, and no advice to order what is refused.
    assert status.distil_waits == "the route has no metric: nothing says which answers are good"
    world.stop()
