"""A job's folder: everything about one fine-tuning job, and its state as the fold of its events.

``job.json``, ``train.jsonl`` and ``validation.jsonl`` are written before the job exists and never
changed; ``events.jsonl`` grows; ``cancel`` is an empty file that asks for the end; ``work/`` holds
checkpoints; ``model/`` appears, complete, by a rename.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from distiller.artefact import Adapter, fsync
from distiller.trainer.events import Event
from distiller.trainer.hyperparameters import Hyperparameters

JOB_FILE = "job.json"
TRAIN_FILE = "train.jsonl"
VALIDATION_FILE = "validation.jsonl"
CANCEL_FILE = "cancel"
LOCK_FILE = "lock"
LOG_FILE = "log"
WORK_FOLDER = "work"
MODEL_FOLDER = "model"

Base = Literal["classifier", "embedded"]
Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for. Written once."""

    id: str
    #: Unix seconds
    created: float
    base: Base
    training_file: str
    validation_file: str | None
    seed: int
    suffix: str | None
    metadata: dict[str, str]
    hyperparameters: Hyperparameters
    adapter: Adapter
    #: seconds after which the worker gives up, whatever it does
    limit_s: float
    #: MiB that the worker may allocate; None: no limit
    memory_mb: int | None

    @property
    def fine_tuned_model(self) -> str:
        return f"ft:{self.base}:local:{self.suffix or 'student'}:{self.id[-8:]}"


def read_job(folder: Path) -> Job:
    return msgspec.json.decode((folder / JOB_FILE).read_bytes(), type=Job)


def status_of(events: list[Event], *, cancelling: bool) -> Status:
    """Fold events into OpenAI's status. A job that waits to be resumed still counts as running."""
    if not events:
        return "cancelled" if cancelling else "queued"
    last = events[-1].type
    if last == "succeeded":
        return "succeeded"
    if last == "failed":
        return "failed"
    return "cancelled" if last == "cancelled" else "running"


def ask_to_cancel(folder: Path) -> None:
    """Leave the mark that a worker, now or after a restart, obeys."""
    (folder / CANCEL_FILE).touch()
    fsync(folder)


def is_cancelling(folder: Path) -> bool:
    return (folder / CANCEL_FILE).exists()
