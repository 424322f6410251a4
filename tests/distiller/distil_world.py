"""The world of the distillation tests: data folder, fake trainer, students that answer as told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distiller import distillations
from distiller.artefact import Manifest, seal
from distiller.dataset.values import DatasetSpec, Row
from distiller.distil import Sittings, advance
from distiller.distillations import Distillation, DistilSettings, Stage, request
from distiller.exam import Answered, Failed, Scored, ToScore
from distiller.fine_tuning import FineTuning
from distiller.happenings import Clients, Happening
from distiller.skeleton import Skeleton
from distiller.student import read_student, student_folder
from programs import rows as program_rows
from programs.errors import LoadError
from programs.student_files import Skeleton as PromptSkeleton
from tests.distiller.traces_in_store import METRIC, ROUTE, START, VERSION, Log
from tests.fakes.fine_tuning import FakeTrainer
from traces.store import Store

NOW = START + 10_000
SETTINGS = DistilSettings(
    spec=DatasetSpec(
        route=ROUTE,
        program=False,
        program_version=VERSION,
        metric_hash=METRIC,
        cutoff=START + 1_000,
        min_rows=4,
        min_exam_rows=4,
    ),
    embedded_min_rows=4,
)
WORDS = ["refund", "card", "transfer", "address", "limit", "cash", "app", "bill", "fee", "branch"]


class World:
    """A data folder, the fake trainer, and students that answer as told."""

    def __init__(self, folder: Path, trainer: FakeTrainer, service: FineTuning) -> None:
        self.folder = folder
        self.trainer = trainer
        self.service = service
        self.database = folder / "limbeck.duckdb"
        #: student's trainer -> share of right answers, or a failure
        self.answers: dict[str, float | Failed] = {"classifier": 0.9, "embedded": 0.5}
        #: traces that nobody answers, whoever is asked
        self.silent: set[str] = set()
        #: traces of all rows that a student was asked, in order
        self.asked: list[str] = []
        #: why the metric can't be loaded; None: it can
        self.metric_problem: str | None = None
        trainer.make_model = self._make_model

    def clients(self) -> Clients:
        return Clients(
            trainer=self.service,
            render=render,
            ask=self._ask,
            score=self._score,
            trained=self.folder / "trainer",
            students=self.folder / "students",
        )

    def _make_model(self, job: dict[str, Any]) -> None:
        model = self.folder / "trainer" / "jobs" / job["id"] / "model"
        if model.exists():
            return
        model.mkdir(parents=True)
        (model / "weights").write_text(job["model"])
        seal(model, manifest(job["metadata"]["adapter"]))

    async def _ask(self, route: str, student: str, row: Row) -> Answered | Failed:
        made = read_student(student_folder(self.folder / "students", route, student))
        told = self.answers[made.trainer]
        self.asked.append(row.trace_id)
        if row.trace_id in self.silent:
            return Failed(reason="connect", unreachable=True)
        if isinstance(told, Failed):
            return told
        right = WORDS.index(row.inputs["text"].split()[-1]) < told * 10
        return Answered(text="a" if right else "b", cost_usd=0.001)

    async def _score(self, route: str, asked: Sequence[ToScore]) -> list[Scored]:
        if self.metric_problem is not None:
            raise LoadError(self.metric_problem)
        return await score(route, asked)


def manifest(adapter: Any) -> Manifest:
    return Manifest(
        kind="classifier",
        files={},
        adapter=adapter,
        skeleton=Skeleton(system_sha256=None, lines=()),
        trained_rows=1,
        dev_score=1.0,
        temperature=None,
        filled=("confidence",) if adapter != "plain" else (),
        versions={},
        seed=1,
        time_limited=False,
    )


async def score(route: str, asked: Sequence[ToScore]) -> list[Scored]:
    assert route == ROUTE
    return [Scored(score=float(json.dumps(one.answer) == one.gold)) for one in asked]


async def render(job: program_rows.Job) -> program_rows.Rendered:
    rows = [
        program_rows.RenderedRow(
            messages=[{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}],
            inputs=row.inputs,
            outputs=row.outputs,
        )
        for row in job.rows
    ]
    head = program_rows.Head(skeleton=PromptSkeleton(), output_fields={}, drop=job.drop)
    return program_rows.Rendered(head=head, rows=rows)


def fill(path: Path, *, program: bool = False) -> None:
    log = Log(path)
    call = {"reasoning": "r", "category": "a", "confidence": 0.9} if program else None
    with log.opened():
        log.source("crm", "all")
        for number, word in enumerate(WORDS):
            log.trace(f"about my {word} {word}", "a", score=1.0, call=call)
            wrong = number % 5 == 0
            answer = "b" if wrong else "a"
            log.trace(f"exam {word}", answer, bucket=number % 12, gold="a", call=call)
        log.trace("calibrate this", "a", bucket=13, gold="a", call=call)


async def once(
    world: World, *, now: float = NOW, sittings: Sittings | None = None
) -> list[Happening]:
    """One tick; without ``sittings`` of a control that has just started, with an empty memory."""
    store = Store(world.database)
    try:
        return await advance(
            store, world.clients(), {} if sittings is None else sittings, ROUTE, now=now
        )
    finally:
        store.close()


async def to_the_end(world: World, *, ticks: int = 20) -> tuple[Distillation, list[Happening]]:
    """Tick until the distillation has ended; the trainer is done whenever it is asked again."""
    happened: list[Happening] = []
    for _ in range(ticks):
        happened += await once(world)
        world.trainer.finish()
        store = Store(world.database)
        newest = distillations.recent(store, ROUTE)[0]
        store.close()
        if newest.stage is Stage.ENDED:
            return newest, happened
    raise AssertionError(f"not at the end after {ticks} ticks: {happened}")


def ask_for(world: World, settings: DistilSettings = SETTINGS, *, now: float = NOW) -> str:
    store = Store(world.database)
    try:
        return request(store, settings, now=now)
    finally:
        store.close()
