"""What the pipeline needs from outside, and what it tells about itself. Values only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

from distiller.dataset.rows import Render
from distiller.dataset.values import Row
from distiller.exam import Answered, Failed, Scored, ToScore
from distiller.fine_tuning import FineTuning


@dataclass(frozen=True, kw_only=True)
class Clients:
    """Whom the distiller asks, and where trained models and students lie."""

    trainer: FineTuning
    render: Render
    #: (route, student, row) -> the student's answer
    ask: Callable[[str, str, Row], Awaitable[Answered | Failed]]
    #: (route, answers) -> their scores by the route's metric, in order
    score: Callable[[str, Sequence[ToScore]], Awaitable[Sequence[Scored]]]
    #: the trainer's folder
    trained: Path
    #: folder of the published students
    students: Path


class Event(StrEnum):
    """What a happening is about."""

    DATASET = "dataset"
    JOB = "job"
    STUDENT = "student"
    EXAM = "exam"
    #: something is not there just now; a later tick goes on
    WAITING = "waiting"
    ENDED = "ended"


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to a distillation, told as it happens."""

    distillation_id: str
    route: str
    event: Event
    message: str
    #: trainer of the job, or the candidate; at the end the chosen student
    about: str | None = None
    #: of a job, 0..1
    progress: float | None = None
