"""Which trainers a distillation asks, and with what. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from distiller.artefact import Adapter
from distiller.distillations import DistilSettings
from distiller.jobs import JobSettings

#: our trainers, the cheapest to serve first; the exam's ties go to the earlier one
TRAINERS = ("classifier", "embedded")
_NOT_OFFERED = "the trainer does not offer it (embedded needs limbeck[train] there)"


class Trainers(NamedTuple):
    """Whom to ask, and why the others are left out."""

    chosen: tuple[str, ...]
    left_out: tuple[str, ...]


def choose_trainers(settings: DistilSettings, offered: Sequence[str], train_rows: int) -> Trainers:
    """Choose by the settings; ``auto`` asks all that have enough rows.

    What a trainer can't learn, such as free text, it refuses by itself, with the reason.
    """
    wanted = TRAINERS if settings.trainer == "auto" else (settings.trainer,)
    chosen, left_out = [], []
    for trainer in wanted:
        if trainer not in offered:
            left_out.append(f"{trainer}: {_NOT_OFFERED}")
        elif trainer == "embedded" and train_rows < settings.embedded_min_rows:
            needed = f"needs {settings.embedded_min_rows} train rows, there are {train_rows}"
            left_out.append(f"{trainer}: {needed}")
        else:
            chosen.append(trainer)
    return Trainers(tuple(chosen), tuple(left_out))


def job_settings(settings: DistilSettings, trainer: str) -> JobSettings:
    """What a trainer is asked with."""
    least = settings.embedded_min_rows if trainer == "embedded" else settings.spec.min_rows
    hyperparameters: dict[str, int | float] = {"min_rows": least}
    if settings.max_seconds is not None:
        hyperparameters["max_seconds"] = settings.max_seconds
    return JobSettings(adapter=_adapter(settings, trainer), hyperparameters=hyperparameters)


def cost_rank(trainer: str) -> tuple[int, str]:
    """Sorts by what serving costs, the cheapest first."""
    return (TRAINERS.index(trainer) if trainer in TRAINERS else len(TRAINERS)), trainer


def _adapter(settings: DistilSettings, trainer: str) -> Adapter:
    """How the student writes: a plain route's text; in a program JSON, or DSPy's chat format."""
    if settings.program is None:
        return "plain"
    return "json" if trainer == "classifier" else "chat"
