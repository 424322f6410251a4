"""Which base models this machine can train. Imports nothing heavy."""

from __future__ import annotations

from typing import get_args

from distiller.extras import MissingExtra, missing_packages, require
from distiller.trainer.job_folder import Base

BASES: tuple[Base, ...] = get_args(Base)


def available_trainers() -> tuple[Base, ...]:
    """Return the base models that can be trained here, the cheapest first."""
    return tuple(base for base in BASES if base != "embedded" or not missing_packages("train"))


def check_available(base: Base) -> None:
    """Raise `MissingExtra`, with the command that installs it, if ``base`` can't be trained."""
    if base == "embedded":
        require("train", what="base model 'embedded'")


__all__ = ["BASES", "MissingExtra", "available_trainers", "check_available"]
