"""What feedback says is the right output, in the shape of the predictor's outputs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from distiller.dataset.text import flatten
from distiller.dataset.values import PLAIN_PREDICTOR, Drop

#: what a teacher says about its own answer; it says nothing about the right one
ABOUT_THE_ANSWER = frozenset({"reasoning", "confidence"})


def plain_gold(gold: str) -> dict[str, Any]:
    """The right answer of a plain route, from the feedback's JSON text.

    A string is the answer, and so is the field ``answer`` of an object; anything else is an
    answer in JSON.
    """
    value = msgspec.json.decode(gold)
    if isinstance(value, dict) and PLAIN_PREDICTOR in value:
        value = value[PLAIN_PREDICTOR]
    return {PLAIN_PREDICTOR: flatten(value)}


def program_gold(gold: str, fields: Collection[str]) -> dict[str, Any] | Drop:
    """The right values of a predictor's output fields.

    ``fields`` are the outputs that the predictor made. A value that is no object belongs to the
    one field that it can belong to.
    """
    value = msgspec.json.decode(gold)
    if isinstance(value, dict):
        known = {name: value[name] for name in sorted(value) if name in fields}
        return known or Drop.GOLD_UNKNOWN
    answers = sorted(set(fields) - ABOUT_THE_ANSWER)
    return {answers[0]: value} if len(answers) == 1 else Drop.GOLD_UNKNOWN


def answer_fields(outputs: dict[str, Any]) -> set[str]:
    """The outputs that answer: neither the reasoning nor a number that says how sure it is."""
    return {k for k, v in outputs.items() if k != "reasoning" and not _is_confidence(k, v)}


def corrected(outputs: dict[str, Any], gold: dict[str, Any]) -> dict[str, Any]:
    """A predictor's outputs with the gold in place.

    The reasoning led to another answer and goes. A number as confidence becomes 1: a label is
    certain, and all rows of a dataset need the same fields.
    """
    kept = {
        name: 1.0 if _is_confidence(name, value) else value
        for name, value in outputs.items()
        if name != "reasoning"
    }
    return kept | gold


def _is_confidence(name: str, value: Any) -> bool:
    return name == "confidence" and isinstance(value, int | float) and not isinstance(value, bool)
