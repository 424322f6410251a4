"""The training worker: one process, one job, folder in, folder out.

Exit codes: 0 succeeded, 1 failed, 2 refused, 3 cancelled, 4 interrupted (to be resumed),
5 out of memory, 75 another process holds the job.
"""

from __future__ import annotations

import os
import shutil
import traceback
from enum import IntEnum
from pathlib import Path
from typing import Protocol

from distiller.artefact import publish
from distiller.errors import DistillerError
from distiller.extras import MissingExtra
from distiller.trainer.available import check_available
from distiller.trainer.events import EventLog, is_terminal_log
from distiller.trainer.job_folder import MODEL_FOLDER, Base, Job, is_cancelling, read_job
from distiller.trainer.process import (
    ENVIRONMENT,
    Stopped,
    StopSignal,
    die_with,
    hold,
    is_out_of_memory,
    limit,
)
from distiller.trainer.refusal import Refused
from distiller.trainer.run import Draft, Run, load_rows

#: environment variable that names the process to die with
PARENT = "LIMBECK_TRAINER_PID"


class ExitCode(IntEnum):
    SUCCEEDED = 0
    FAILED = 1
    REFUSED = 2
    CANCELLED = 3
    INTERRUPTED = 4
    OUT_OF_MEMORY = 5
    HELD = 75


class Trainer(Protocol):
    """What makes a draft of a model. Raises `Refused` for rows that it can't learn from."""

    def __call__(self, run: Run) -> Draft: ...


def main(folder: str | Path) -> int:
    """Work on the job in ``folder`` until it ends or is stopped; return an `ExitCode`."""
    job_folder = Path(folder).resolve()
    os.environ.update(ENVIRONMENT)
    stop = StopSignal()
    stop.install()
    lock = hold(job_folder)
    if lock is None:
        return ExitCode.HELD
    events = EventLog(job_folder)
    try:
        with lock:
            return _work(job_folder, events, stop)
    except Stopped:
        return _stopped(job_folder, events)


def _work(folder: Path, events: EventLog, stop: StopSignal) -> ExitCode:
    if is_terminal_log(folder):
        return ExitCode.SUCCEEDED
    if parent := os.environ.get(PARENT):
        die_with(int(parent))
    if is_cancelling(folder):
        raise Stopped
    if (folder / MODEL_FOLDER).exists():  # killed between the rename and the event
        events.add("succeeded", "The model had been published before the worker was stopped")
        return ExitCode.SUCCEEDED
    job = read_job(folder)
    events.add("started", f"Training {job.base} started")
    try:
        return _train(folder, job, events, stop)
    except (Refused, MissingExtra) as refusal:
        code = refusal.code if isinstance(refusal, Refused) else "missing_extra"
        events.add("failed", str(refusal), code=code)
        return ExitCode.REFUSED
    except DistillerError as error:
        events.add("failed", str(error), code="training_failed")
        return ExitCode.FAILED
    except Exception as error:  # the job's state must say that it ended, whatever went wrong
        return _failed(job, events, error)


def _train(folder: Path, job: Job, events: EventLog, stop: StopSignal) -> ExitCode:
    check_available(job.base)
    trainer = _trainer(job.base)
    # After the imports: libraries that run out of memory while they load hang or crash.
    limit(seconds=_limit_s(job), memory_mb=job.memory_mb)
    rows = load_rows(folder, job)
    run = Run(folder=folder, job=job, rows=rows, events=events, stop=stop)
    draft = trainer(run)
    publish(draft.folder, run.model)
    score = "" if draft.dev_score is None else f", {draft.dev_score:.1%} of the dev rows right"
    events.add(
        "succeeded",
        f"Trained on {len(rows.train)} rows{score}",
        trained_tokens=draft.trained_tokens,
    )
    shutil.rmtree(run.work, ignore_errors=True)
    return ExitCode.SUCCEEDED


def _trainer(base: Base) -> Trainer:
    """Import the trainer that the job needs, and nothing else: torch takes seconds to load."""
    if base == "classifier":
        from distiller.trainer.classifier import train_classifier

        return train_classifier
    from distiller.trainer.embedded.train import train_embedded

    return train_embedded


def _limit_s(job: Job) -> float:
    """The embedded trainer keeps ``max_seconds`` by itself: it stops early and publishes."""
    asked = job.hyperparameters.max_seconds
    return min(asked, job.limit_s) if asked and job.base == "classifier" else job.limit_s


def _stopped(folder: Path, events: EventLog) -> ExitCode:
    if is_terminal_log(folder):
        return ExitCode.SUCCEEDED
    if is_cancelling(folder):
        events.add("cancelled", "The job was cancelled")
        return ExitCode.CANCELLED
    events.add("interrupted", "The worker was stopped; the job resumes with the service")
    return ExitCode.INTERRUPTED


def _failed(job: Job, events: EventLog, error: Exception) -> ExitCode:
    traceback.print_exception(error)  # into the job's log
    if is_out_of_memory(error):
        events.add(
            "failed",
            f"Out of memory (limit {job.memory_mb} MiB). Train on fewer or shorter rows, or "
            "give the trainer more memory",
            code="out_of_memory",
        )
        return ExitCode.OUT_OF_MEMORY
    events.add("failed", f"{type(error).__name__}: {error}"[:500], code="training_failed")
    return ExitCode.FAILED
