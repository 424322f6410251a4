from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from distiller import distillations
from distiller.dataset import stored
from distiller.dataset.values import Split
from distiller.distil import Sittings, advance
from distiller.distillations import DistilSettings, exams_of
from distiller.exam import TEACHER
from distiller.fine_tuning import FineTuning
from distiller.happenings import Event
from distiller.jobs import jobs_of
from distiller.publishing import students_of_route
from distiller.student import read_student, student_folder, verify_student
from distiller.trainers import choose_trainers
from tests.distiller.distil_world import (
    NOW,
    SETTINGS,
    WORDS,
    World,
    ask_for,
    fill,
    once,
    to_the_end,
)
from tests.distiller.traces_in_store import ROUTE, Log
from tests.fakes.fine_tuning import fake_trainer
from traces.store import Store


async def test_from_traces_to_a_chosen_student_with_a_restart_between_any_two_steps(
    world: World,
) -> None:
    ask_for(world)
    ended, happened = await to_the_end(world)
    store = Store(world.database)
    students = students_of_route(store, ROUTE)
    assert sorted(s.trainer for s in students) == ["classifier", "embedded"]
    best = next(s for s in students if s.trainer == "classifier")
    assert ended.chosen == best.student
    assert "proves nothing" in (ended.reason or "")
    student = verify_student(student_folder(world.folder / "students", ROUTE, best.student))
    assert student.predictors["answer"].served_model == f"{ROUTE}.answer@{best.student}"
    assert student.predictors["answer"].adapter == "plain"
    assert student.cutoff == SETTINGS.spec.cutoff
    assert student.dataset_id == ended.dataset_id
    results = exams_of(store, ended.distillation_id)
    assert results["teacher"].score == 0.8
    assert results[best.student].score == 0.9
    store.close()
    events = [one.event for one in happened]
    assert events[0] is Event.DATASET
    assert events[-1] is Event.ENDED
    assert {Event.JOB, Event.STUDENT, Event.EXAM} <= set(events)
    assert len(world.trainer.jobs) == 2


async def test_a_program_is_distilled_without_its_reasoning(tmp_path: Path) -> None:
    fill(tmp_path / "limbeck.duckdb", program=True)
    with fake_trainer() as trainer:
        service = FineTuning.local(trainer.url, "key")
        world = World(tmp_path, trainer, service)
        source = {"factory": "app:make", "user_dir": str(tmp_path)}
        spec = msgspec.structs.replace(SETTINGS.spec, program=True)
        settings = msgspec.convert(
            {**msgspec.to_builtins(SETTINGS), "program": source, "spec": msgspec.to_builtins(spec)},
            DistilSettings,
        )
        ask_for(world, settings)
        ended, _ = await to_the_end(world)
        await service.close()
    adapters = {job["model"]: job["metadata"]["adapter"] for job in trainer.jobs}
    assert adapters == {"classifier": "json", "embedded": "chat"}
    assert ended.chosen is not None
    student = read_student(student_folder(tmp_path / "students", ROUTE, ended.chosen))
    assert student.predictors["classify"].drop == ("reasoning",)
    assert student.predictors["classify"].filled == ("confidence",)


class Crash(Exception):
    """The process is gone."""


class CrashingStore(Store):
    """A store whose process dies right before its n-th change."""

    changes_left: int

    def run(self, query: str, **params: Any) -> None:
        if self.changes_left == 0:
            raise Crash
        self.changes_left -= 1
        super().run(query, **params)


@pytest.mark.slow
@pytest.mark.long
async def test_a_crash_before_any_change_of_the_store_does_nothing_twice(world: World) -> None:
    clean = world.database.read_bytes()
    crashes = 0
    while True:
        for name in ("students", "trainer"):
            shutil.rmtree(world.folder / name, ignore_errors=True)
        world.database.write_bytes(clean)
        world.trainer.jobs.clear()
        ask_for(world)
        crashed = await _crash_at(world, crashes)
        store = Store(world.database)
        while distillations.unfinished(store):
            await advance(store, world.clients(), {}, ROUTE, now=NOW)
            world.trainer.finish()
        (ended,) = distillations.recent(store, ROUTE)
        assert ended.chosen is not None
        assert len(world.trainer.jobs) == len(jobs_of(store, ended.distillation_id)) == 2
        assert len(students_of_route(store, ROUTE)) == 2
        assert len(list((world.folder / "students").iterdir())) == 2
        assert set(exams_of(store, ended.distillation_id)) == {
            "teacher",
            *(student.student for student in students_of_route(store, ROUTE)),
        }
        store.close()
        if not crashed:
            break
        crashes += 1
    assert crashes > 15


async def _crash_at(world: World, changes: int) -> bool:
    """Run until the process dies; False if it got to the end before."""
    store = CrashingStore(world.database)
    store.changes_left = changes
    try:
        while distillations.unfinished(store):
            await advance(store, world.clients(), {}, ROUTE, now=NOW)
            world.trainer.finish()
    except Crash:
        return True
    finally:
        store.close()
    return False


async def test_one_trainers_refusal_does_not_stop_the_other(world: World) -> None:
    world.trainer.refused["classifier"] = "output 'answer' is free text"
    ask_for(world)
    ended, happened = await to_the_end(world)
    store = Store(world.database)
    (student,) = students_of_route(store, ROUTE)
    store.close()
    assert student.trainer == "embedded"
    assert ended.chosen == student.student
    assert any("classifier: failed, output 'answer' is free text" in h.message for h in happened)


async def test_when_all_refuse_the_reasons_are_the_end(world: World) -> None:
    world.trainer.refused = {"classifier": "free text", "embedded": "too few answers"}
    ask_for(world)
    ended, _ = await to_the_end(world)
    assert ended.chosen is None
    assert (
        ended.reason == "no student was trained: classifier: free text; embedded: too few answers"
    )


class Cost(msgspec.Struct):
    kind: str
    usd: float | None
    unknown: int


async def test_what_the_exam_cost_is_kept(world: World) -> None:
    ask_for(world)
    await to_the_end(world)
    store = Store(world.database)
    exams = exams_of(store, distillations.recent(store, ROUTE)[0].distillation_id)
    (cost,) = store.all("report_costs", Cost, route=ROUTE)
    store.close()
    answers = sum(result.n for name, result in exams.items() if name != "teacher")
    assert (cost.kind, cost.unknown) == ("exam", 0)
    assert cost.usd == pytest.approx(0.001 * answers) and answers


async def test_an_exam_waits_for_a_metric_that_cannot_be_loaded(world: World) -> None:
    ask_for(world)
    world.metric_problem = "metric: no module named judge"
    with pytest.raises(AssertionError):
        await to_the_end(world)
    (waiting,) = await once(world)
    assert (waiting.event, waiting.message) == (Event.WAITING, world.metric_problem)
    world.metric_problem = None
    ended, _ = await to_the_end(world)
    assert ended.chosen is not None


async def test_too_few_rows_end_it_before_anybody_is_asked(world: World) -> None:
    spec = msgspec.structs.replace(SETTINGS.spec, min_rows=500)
    ask_for(world, msgspec.structs.replace(SETTINGS, spec=spec))
    ended, _ = await to_the_end(world)
    assert (ended.reason or "").startswith("too few train rows: 10 of 500; about 1,029 more traces")
    assert world.trainer.log == []


async def test_a_trainer_that_is_away_is_waited_for(world: World) -> None:
    world.trainer.faults = {"models": [503, 503]}
    ask_for(world)
    await once(world)
    for _ in range(2):
        (waiting,) = await once(world)
        assert waiting.event is Event.WAITING
    ended, _ = await to_the_end(world)
    assert ended.chosen is not None


async def test_a_damaged_model_is_no_student(world: World) -> None:
    make_model = world.trainer.make_model

    def damage(job: dict[str, Any]) -> None:
        make_model(job)
        if job["model"] == "classifier":
            path = world.folder / "trainer" / "jobs" / job["id"] / "model" / "weights"
            path.write_text("other")

    world.trainer.make_model = damage
    ask_for(world)
    ended, happened = await to_the_end(world)
    assert any("damaged" in one.message for one in happened)
    assert ended.chosen is not None
    assert len(list((world.folder / "students").iterdir())) == 1


async def test_erased_traces_end_it(world: World) -> None:
    ask_for(world)
    await once(world)
    Log(world.database).sql("DELETE FROM traces WHERE text = 'exam card'")
    ended, _ = await to_the_end(world)
    assert "have lost their traces" in (ended.reason or "")


async def to_the_first_exam(world: World, sittings: Sittings) -> list[str]:
    """Tick until the teacher has been examined; the traces of the exam's rows."""
    ask_for(world)
    while True:
        happened = await once(world, sittings=sittings)
        world.trainer.finish()
        if any(one.about == TEACHER for one in happened):
            break
    store = Store(world.database)
    (running,) = distillations.unfinished(store)
    dataset = stored.load(store, running.dataset_id or "")
    store.close()
    return [row.trace_id for row in dataset.split(Split.EXAM)]


async def test_rows_that_nobody_answered_are_asked_again_and_they_alone(world: World) -> None:
    sittings: Sittings = {}
    rows = await to_the_first_exam(world, sittings)
    world.silent = set(rows[:3])
    (waiting,) = await once(world, sittings=sittings)
    assert waiting.event is Event.WAITING
    assert waiting.message.endswith("did not answer 3 of 10 exam rows")
    world.silent.clear()
    (examined,) = await once(world, sittings=sittings)
    assert examined.event is Event.EXAM
    assert "on 10 of 10 rows, 0 failed" in examined.message
    assert world.asked[10:] == rows[:3]


async def test_each_candidates_patience_begins_with_its_own_first_try_in_vain(
    world: World,
) -> None:
    """However long ago the exams began: the machine may have been off."""
    sittings: Sittings = {}
    world.silent = set(await to_the_first_exam(world, sittings))
    happened = []
    for now in (NOW + 5_000, NOW + 5_899, NOW + 5_901, NOW + 6_000, NOW + 6_899):
        happened += await once(world, now=now, sittings=sittings)
    events = [one.event for one in happened]
    assert events == [Event.WAITING, Event.WAITING, Event.EXAM, Event.WAITING, Event.WAITING]
    for now in (NOW + 6_901, NOW + 7_000):
        happened += await once(world, now=now, sittings=sittings)
    assert "100.0% of the rows were not answered, mostly: connect" in happened[-1].message
    assert happened[-1].event is Event.ENDED
    assert not sittings


async def test_replies_are_kept_while_the_metric_cannot_be_loaded(world: World) -> None:
    sittings: Sittings = {}
    await to_the_first_exam(world, sittings)
    world.metric_problem = "metric: no module named judge"
    (waiting,) = await once(world, sittings=sittings)
    assert (waiting.event, waiting.message) == (Event.WAITING, world.metric_problem)
    world.metric_problem = None
    (examined,) = await once(world, sittings=sittings)
    assert examined.event is Event.EXAM
    assert len(world.asked) == 10


async def test_a_new_student_must_not_be_worse_than_the_previous_one(world: World) -> None:
    ask_for(world)
    first, _ = await to_the_end(world)
    world.answers = {"classifier": 0.9, "embedded": 0.5}
    previous = first.chosen
    assert previous is not None
    settings = msgspec.structs.replace(SETTINGS, previous=previous, trainer="embedded")
    ask_for(world, settings, now=NOW + 1)
    second, _ = await to_the_end(world)
    assert second.distillation_id != first.distillation_id
    assert second.chosen is None
    assert f"the previous student is better, {previous}" in (second.reason or "")
    store = Store(world.database)
    numbers = sorted(one.student.split("-")[0] for one in students_of_route(store, ROUTE))
    store.close()
    assert numbers == ["s1", "s2", "s3"]


async def test_the_previous_student_sits_no_exam_on_what_it_has_learnt(world: World) -> None:
    """Its train rows may be exam rows by now: asked again, in another conversation."""
    ask_for(world)
    first, _ = await to_the_end(world)
    previous = first.chosen
    assert previous is not None
    log = Log(world.database, after=100)
    known = [log.trace(f"About my {word}, {word}", "a", bucket=3, gold="a") for word in WORDS[:5]]
    world.asked.clear()
    settings = msgspec.structs.replace(SETTINGS, previous=previous, trainer="embedded")
    ask_for(world, settings, now=NOW + 1)
    second, _ = await to_the_end(world)
    store = Store(world.database)
    results = exams_of(store, second.distillation_id)
    store.close()
    assert {name: result.rows for name, result in results.items()} == {
        TEACHER: 15,
        previous: 10,
        next(name for name in results if name not in (TEACHER, previous)): 15,
    }
    assert not set(known) & results[previous].scores.keys()
    assert "the previous student is better" in (second.reason or "")


async def test_a_route_has_one_distillation_at_a_time(world: World) -> None:
    assert ask_for(world) == ask_for(world, now=NOW + 5)
    await to_the_end(world)
    assert len({ask_for(world, now=NOW + 5), ask_for(world, now=NOW + 6)}) == 1
    store = Store(world.database)
    assert len(distillations.recent(store, ROUTE)) == 2
    store.close()


@pytest.mark.parametrize(
    ("trainer", "offered", "rows", "chosen"),
    [
        ("auto", ["classifier", "embedded"], 800, ("classifier", "embedded")),
        ("auto", ["classifier", "embedded"], 799, ("classifier",)),
        ("auto", ["classifier"], 5_000, ("classifier",)),
        ("auto", ["embedded"], 5_000, ("embedded",)),
        ("embedded", ["classifier", "embedded"], 5_000, ("embedded",)),
        ("embedded", ["classifier"], 5_000, ()),
        ("classifier", ["classifier", "embedded"], 5_000, ("classifier",)),
    ],
)
def test_which_trainers_are_asked(
    trainer: Any, offered: list[str], rows: int, chosen: tuple[str, ...]
) -> None:
    settings = DistilSettings(spec=SETTINGS.spec, trainer=trainer)
    found = choose_trainers(settings, offered, rows)
    assert found.chosen == chosen
    wanted = 2 if trainer == "auto" else 1
    assert len(found.chosen) + len(found.left_out) == wanted


async def test_without_any_trainer_it_ends_with_the_way_out(world: World) -> None:
    world.trainer.offers = ["classifier"]
    ask_for(world, msgspec.structs.replace(SETTINGS, trainer="embedded"))
    ended, _ = await to_the_end(world)
    assert "embedded needs limbeck[train]" in (ended.reason or "")
