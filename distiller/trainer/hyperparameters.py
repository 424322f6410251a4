"""What a client may set for a job: OpenAI's three hyperparameters and two of our own."""

from __future__ import annotations

import difflib
from typing import Any

import msgspec

from distiller.errors import DistillerError

_AUTO = "auto"


class BadHyperparameter(DistillerError):
    """An unknown name, or a value out of range."""


class Hyperparameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """None means: the trainer's default (OpenAI's ``"auto"``)."""

    n_epochs: int | None = None
    batch_size: int | None = None
    #: multiplies the trainer's default learning rate
    learning_rate_multiplier: float | None = None
    #: refuse to train on fewer rows
    min_rows: int | None = None
    #: seconds; classifier: give up; embedded: stop early and publish what there is
    max_seconds: float | None = None


def parse(values: dict[str, Any]) -> Hyperparameters:
    """Read what a client sent. Raises `BadHyperparameter` naming the key and the way out."""
    known = Hyperparameters.__struct_fields__
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise BadHyperparameter(f"hyperparameter {name!r} is unknown; {hint}")
    given = {name: value for name, value in values.items() if value not in (_AUTO, None)}
    try:
        parsed = msgspec.convert(given, Hyperparameters)
    except msgspec.ValidationError as error:
        raise BadHyperparameter(f"hyperparameters: {error}") from None
    for name in given:
        if getattr(parsed, name) <= 0:
            raise BadHyperparameter(f"hyperparameter {name!r} must be above 0")
    return parsed
