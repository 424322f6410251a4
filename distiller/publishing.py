"""From a finished job to an immutable student: the folder first, its row in the store last."""

from __future__ import annotations

from pathlib import Path

import msgspec

from distiller.artefact import verify
from distiller.dataset.values import Dataset
from distiller.jobs import Job
from distiller.student import (
    ServedPredictor,
    Student,
    artefact_sha256,
    publish_student,
    served_model,
    student_id,
)
from traces.store import Store


class StudentRow(msgspec.Struct, frozen=True, kw_only=True):
    """A student, as the store has it."""

    student: str
    route: str
    dataset_id: str
    job_id: str
    trainer: str
    program_version: str
    metric_hash: str
    #: Unix seconds; no newer trace was used
    cutoff: float
    #: predictor -> served model, JSON text
    served_models: str
    artefact_sha256: str
    #: Unix seconds
    ts: float


class _Number(msgspec.Struct, frozen=True):
    number: int


def students_made(store: Store, distillation_id: str) -> list[StudentRow]:
    """The students of a distillation, oldest first."""
    return store.all("students_of_distillation", StudentRow, distillation_id=distillation_id)


def students_of_route(store: Store, route: str) -> list[StudentRow]:
    """All students of a route, newest first."""
    return store.all("students_of_route", StudentRow, route=route)


def publish_job(
    store: Store, job: Job, dataset: Dataset, *, trained: Path, students: Path, now: float
) -> Student:
    """Publish the model of a succeeded job as the route's next student. Raises `ArtefactError`.

    ``trained`` is the trainer's folder, ``students`` that of the published ones. A repetition
    after a crash finds the folder in place and writes the row alone: until the row is there, the
    next number is the same.
    """
    folder = trained / "jobs" / (job.provider_job_id or "") / "model"
    manifest = verify(folder)
    models = {job.predictor: folder}
    sha256 = artefact_sha256(models)
    found = store.one("next_student_number", _Number, route=job.route)
    student = student_id(found.number if found else 1, sha256)
    spec = dataset.spec
    published = publish_student(
        students,
        Student(
            route=job.route,
            student=student,
            created=now,
            program_version=spec.program_version,
            metric_hash=spec.metric_hash,
            dataset_id=dataset.dataset_id,
            dataset_sha256=dataset.sha256,
            cutoff=spec.cutoff,
            trainer=job.trainer,
            predictors={
                job.predictor: ServedPredictor(
                    served_model=served_model(job.route, job.predictor, student),
                    adapter=manifest.adapter,
                    drop=job.asked_with.drop,
                    filled=manifest.filled,
                )
            },
            artefact_sha256=sha256,
        ),
        models,
    )
    store.run(
        "insert_student",
        student=student,
        now_us=round(published.created * 1e6),
        route=job.route,
        dataset_id=dataset.dataset_id,
        job_id=job.job_id,
        trainer=job.trainer,
        program_version=spec.program_version,
        metric_hash=spec.metric_hash,
        cutoff_us=round(spec.cutoff * 1e6),
        served_models=_json({k: v.served_model for k, v in published.predictors.items()}),
        artefact_sha256=sha256,
        manifest=_json({job.predictor: manifest}),
    )
    return published


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
