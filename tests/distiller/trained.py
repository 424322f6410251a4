"""Students for tests: trained by the real worker, published as control does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from distiller.artefact import Adapter, read_manifest
from distiller.student import (
    ServedPredictor,
    Student,
    artefact_sha256,
    publish_student,
    served_model,
    student_id,
)
from distiller.trainer.hyperparameters import Hyperparameters
from distiller.trainer.job_folder import Base, Job
from tests.fakes.tickets import as_jsonl

LAUNCH = Path(__file__).with_name("launch.py")


def write_job(
    folder: Path,
    base: Base,
    rows: list[dict[str, Any]],
    *,
    adapter: Adapter,
    **hyperparameters: Any,
) -> Path:
    """Make a job's folder as the service does; the rows carry their split."""
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_bytes(as_jsonl(rows))
    job = Job(
        id="ftjob-test",
        created=1.0,
        base=base,
        training_file="file-1",
        validation_file=None,
        seed=3,
        suffix=None,
        metadata={},
        hyperparameters=Hyperparameters(**hyperparameters),
        adapter=adapter,
        limit_s=600.0,
        memory_mb=4096,
    )
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    return folder


def work(folder: Path) -> int:
    """Run the worker on a job's folder; return its exit code."""
    return subprocess.run(
        [sys.executable, str(LAUNCH), "training-worker", str(folder)], timeout=300
    ).returncode


def publish(
    students: Path, model: Path, *, route: str, predictor: str = "answer", number: int = 1
) -> str:
    """Publish a trained model as a student; return its served model's name."""
    models = {predictor: model}
    sha256 = artefact_sha256(models)
    student = student_id(number, sha256)
    name = served_model(route, predictor, student)
    publish_student(
        students,
        Student(
            route=route,
            student=student,
            created=1.0,
            program_version="v1",
            metric_hash="m1",
            dataset_id="d1",
            dataset_sha256="0" * 64,
            cutoff=1.0,
            trainer="classifier",
            predictors={
                predictor: ServedPredictor(
                    served_model=name, adapter=read_manifest(model).adapter, drop=("reasoning",)
                )
            },
            artefact_sha256=sha256,
        ),
        models,
    )
    return name
