"""All jobs of the service, read from their folders: nothing is kept in memory."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from distiller.artefact import fsync, write_durably
from distiller.http import ApiError
from distiller.trainer.events import Event, is_terminal_log, read_events
from distiller.trainer.files import FileStore
from distiller.trainer.job_folder import (
    JOB_FILE,
    TRAIN_FILE,
    VALIDATION_FILE,
    Job,
    Status,
    is_cancelling,
    read_job,
    status_of,
)


class JobState(NamedTuple):
    """A job and all that happened to it so far."""

    job: Job
    events: list[Event]
    status: Status


class JobStore:
    """Folders ``jobs/ID``. A job exists once its folder has its final name."""

    def __init__(self, folder: Path, files: FileStore) -> None:
        self._folder = folder
        self._files = files
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".new-*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def create(self, job: Job) -> None:
        """Make the job's folder. Raises `ApiError` 400 if one of its files does not exist."""
        draft = self._folder / f".new-{job.id}"
        draft.mkdir()
        try:
            self._files.copy(job.training_file, draft / TRAIN_FILE, param="training_file")
            if job.validation_file is not None:
                target = draft / VALIDATION_FILE
                self._files.copy(job.validation_file, target, param="validation_file")
            write_durably(draft / JOB_FILE, msgspec.json.encode(job))
            draft.rename(self.folder(job.id))
            fsync(self._folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def get(self, job_id: str) -> JobState:
        """Raises `ApiError` 404 for an unknown id."""
        if not _is_id(job_id):
            raise ApiError(404, f"fine-tuning job {job_id!r} does not exist")
        folder = self.folder(job_id)
        try:
            job = read_job(folder)
        except FileNotFoundError:
            raise ApiError(404, f"fine-tuning job {job_id!r} does not exist") from None
        events = read_events(folder)
        return JobState(job, events, status_of(events, cancelling=is_cancelling(folder)))

    def newest_first(self, *, metadata: dict[str, str]) -> list[Job]:
        """Return the jobs that have all of ``metadata``."""
        jobs = [job for job in self._all() if metadata.items() <= job.metadata.items()]
        return sorted(jobs, key=lambda job: (job.created, job.id), reverse=True)

    def next_unfinished(self) -> Path | None:
        """Return the folder of the oldest job that has not ended; None if all have."""
        waiting = [job for job in self._all() if not is_terminal_log(self.folder(job.id))]
        first = min(waiting, key=lambda job: (job.created, job.id), default=None)
        return None if first is None else self.folder(first.id)

    def folder(self, job_id: str) -> Path:
        return self._folder / job_id

    def _all(self) -> Iterator[Job]:
        for path in self._folder.iterdir():
            if _is_id(path.name):
                with suppress(OSError, msgspec.MsgspecError):  # a damaged one can't be run
                    yield read_job(path)


def new_job_id() -> str:
    return f"ftjob-{secrets.token_hex(12)}"


def _is_id(name: str) -> bool:
    prefix, _, rest = name.partition("-")
    return prefix == "ftjob" and rest.isalnum() and len(name) < 100
