"""One attempt at a job, as the trainers see it: rows in, a sealed model folder out."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path

from distiller.trainer.events import EventLog
from distiller.trainer.job_folder import (
    MODEL_FOLDER,
    TRAIN_FILE,
    VALIDATION_FILE,
    WORK_FOLDER,
    Job,
)
from distiller.trainer.process import StopSignal
from distiller.trainer.refusal import Refused
from distiller.trainer.rows import Row, read_rows

#: of the training rows, where the client sent no validation file
_HELD_OUT_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of a job by split."""

    train: Sequence[Row]
    dev: Sequence[Row]
    calibration: Sequence[Row]
    #: how many of the training file are dev rows, as there were no others
    held_out: int = 0


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a trainer gets."""

    folder: Path
    job: Job
    rows: Rows
    events: EventLog
    stop: StopSignal

    @property
    def work(self) -> Path:
        """Scratch folder that survives an interruption."""
        return self.folder / WORK_FOLDER

    @property
    def model(self) -> Path:
        """Where the finished model is published."""
        return self.folder / MODEL_FOLDER

    def fresh_draft(self) -> Path:
        """Return an empty folder to build the model in."""
        draft = self.work / "draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        return draft


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A sealed, self-tested model, ready to be published."""

    folder: Path
    dev_score: float | None
    trained_tokens: int


def load_rows(folder: Path, job: Job) -> Rows:
    """Read a job's rows and sort them by split; without dev rows, hold out a tenth."""
    rows = read_rows(folder / TRAIN_FILE, split="train")
    if (folder / VALIDATION_FILE).exists():
        rows += read_rows(folder / VALIDATION_FILE, split="dev")
    train = [row for row in rows if row.split == "train"]
    dev = [row for row in rows if row.split == "dev"]
    in_file = len(train)
    if not dev:
        held_out = [_is_held_out(job.seed, position) for position in range(len(train))]
        dev = [row for row, out in zip(train, held_out, strict=True) if out]
        train = [row for row, out in zip(train, held_out, strict=True) if not out]
    return Rows(
        train=train,
        dev=dev,
        calibration=[row for row in rows if row.split == "calibration"],
        held_out=in_file - len(train),
    )


def check_row_count(run: Run, *, default: int) -> None:
    """Raise `Refused` if there are fewer training rows than asked for."""
    least = run.job.hyperparameters.min_rows or default
    count = len(run.rows.train) + run.rows.held_out
    if count < least:
        raise Refused(
            f"{run.job.base} needs at least {least} training rows, the file has {count}. Collect "
            "more scored traces, or lower the hyperparameter min_rows",
            code="too_few_rows",
        )


def versions(*packages: str) -> dict[str, str]:
    """Return the installed version of each package, and limbeck's, for the manifest."""
    return {package: version(package) for package in ("limbeck", *packages)}


def _is_held_out(seed: int, position: int) -> bool:
    digest = blake2b(f"{seed}\x1f{position}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 < _HELD_OUT_SHARE
