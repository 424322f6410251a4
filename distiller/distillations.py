"""Distillations as the store has them: what was asked for, how far it is, how it ended."""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256
from typing import Any, Literal

import msgspec

from distiller.dataset.rows import ProgramSource
from distiller.dataset.values import DatasetSpec
from distiller.exam import TEACHER, ExamResult
from traces.store import Store
from traces.times import from_seconds


class Stage(StrEnum):
    """What a distillation does next."""

    #: make the dataset
    REQUESTED = "requested"
    #: choose the trainers, open their jobs
    FROZEN = "frozen"
    #: wait for the jobs
    TRAINING = "training"
    #: make a student of each trained model
    PUBLISHING = "publishing"
    #: examine the students, choose
    EXAMINING = "examining"
    #: with a candidate or without; the reason says why
    ENDED = "ended"


class DistilSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a distillation was asked with. Stored, so that later changes don't touch it."""

    spec: DatasetSpec
    #: None: a plain route
    program: ProgramSource | None = None
    trainer: Literal["auto", "classifier", "embedded"] = "auto"
    #: ``auto`` tries ``embedded`` from this many train rows
    embedded_min_rows: int = 800
    #: longest training time of one job, seconds
    max_seconds: float | None = None
    #: the student that a new one must not be worse than, if it can still be asked
    previous: str | None = None
    #: requests of an exam that run at the same time
    exam_concurrency: int = 4


class Distillation(msgspec.Struct, frozen=True, kw_only=True):
    """One run from dataset to chosen candidate."""

    distillation_id: str
    route: str
    stage: Stage
    #: `DistilSettings` as JSON text
    settings: str
    dataset_id: str | None = None
    #: the student that the exam chose
    chosen: str | None = None
    #: why it ended so
    reason: str | None = None
    #: when it was asked for, Unix seconds
    ts: float
    #: start of the present stage, Unix seconds
    since: float

    @property
    def asked(self) -> DistilSettings:
        """The settings, decoded."""
        return msgspec.json.decode(self.settings, type=DistilSettings)


class _Detail(msgspec.Struct, frozen=True, kw_only=True):
    candidate: str
    detail: str


def request(store: Store, settings: DistilSettings, *, now: float) -> str:
    """Ask for a distillation; returns its id. A route has one at a time: a second gets the first's.

    Nothing happens before `distiller.distil.advance` is called.
    """
    route = settings.spec.route
    with store.transaction():
        running = unfinished(store, route)
        if running:
            return running[0].distillation_id
        body = msgspec.json.encode(settings).decode()
        distillation_id = f"x-{sha256(f'{body}{now}'.encode()).hexdigest()[:12]}"
        store.run(
            "open_distillation",
            distillation_id=distillation_id,
            now_us=round(now * 1e6),
            route=route,
            settings=body,
        )
    return distillation_id


def unfinished(store: Store, route: str | None = None) -> list[Distillation]:
    """What `advance` has to do with, oldest first."""
    return store.all("unfinished_distillations", Distillation, route=route)


def recent(store: Store, route: str, *, at_most: int = 20) -> list[Distillation]:
    """The newest distillations of a route."""
    return store.all("recent_distillations", Distillation, route=route, at_most=at_most)


def move(store: Store, distillation: Distillation, *, now: float, **known: Any) -> Distillation:
    """Enter another stage, with what became known."""
    moved = msgspec.structs.replace(distillation, since=now, **known)
    store.run(
        "move_distillation",
        distillation_id=moved.distillation_id,
        stage=str(moved.stage),
        dataset_id=moved.dataset_id,
        chosen=moved.chosen,
        reason=moved.reason,
        now_us=round(now * 1e6),
    )
    return moved


def save_exam(
    store: Store,
    distillation: Distillation,
    result: ExamResult,
    *,
    teacher: ExamResult,
    now: float,
) -> None:
    """Store what one candidate reached, and what that cost. Call it once for each exam."""
    summary = result.summary(teacher)
    detail = {"method": summary.method, **msgspec.structs.asdict(result)}
    exam_id = f"{distillation.distillation_id}/{result.candidate}"
    asked = result.candidate != TEACHER
    with store.transaction():
        store.run(
            "insert_exam",
            exam_id=exam_id,
            now_us=round(now * 1e6),
            route=distillation.route,
            dataset_id=distillation.dataset_id,
            candidate=result.candidate,
            n=summary.n,
            score=summary.score,
            low=summary.low,
            high=summary.high,
            smallest_gap=summary.smallest_gap if asked else None,
            detail=msgspec.json.encode(detail).decode(),
        )
        if asked:
            row = (from_seconds(now), distillation.route, "exam", result.cost_usd, exam_id)
            store.append("costs", [row])


def exams_of(store: Store, distillation_id: str) -> dict[str, ExamResult]:
    """The results of a distillation's exam, by candidate."""
    rows = store.all("exam_details", _Detail, distillation_id=distillation_id)
    return {row.candidate: msgspec.json.decode(row.detail, type=ExamResult) for row in rows}
