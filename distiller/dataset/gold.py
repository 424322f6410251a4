"""What feedback says is the right output, in the shape of the predictor's outputs."""

from __future__ import annotations

from typing import Any

import msgspec

from distiller.dataset.values import Drop
from programs import gold as readings
from programs.json_values import json_object


def plain_gold(gold: str, answer: str, *, as_json: bool) -> dict[str, Any] | Drop:
    """The right output of a plain route, from the feedback's JSON text.

    ``answer`` is what was answered: gold for a JSON object must be one too.
    """
    text = readings.plain_gold(msgspec.json.decode(gold), as_json=as_json).text
    if not text.strip():
        return Drop.GOLD_EMPTY
    if as_json and json_object(answer) is not None and json_object(text) is None:
        return Drop.GOLD_TYPE
    return {readings.ANSWER: text}


def program_gold(gold: str, outputs: dict[str, Any]) -> dict[str, Any] | Drop:
    """The right values of a predictor's output fields, of the types that its ``outputs`` had."""
    values = readings.program_gold(msgspec.json.decode(gold), outputs)
    known = {
        name: _typed(values[name], outputs[name]) for name in sorted(values) if name in outputs
    }
    if not known:
        return Drop.GOLD_UNKNOWN
    if None in known.values():
        return Drop.GOLD_TYPE
    return Drop.GOLD_EMPTY if _is_blank(corrected(outputs, known)) else known


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
    return name == "confidence" and _is_number(value)


def _is_blank(outputs: dict[str, Any]) -> bool:
    shown = [outputs[name] for name in answer_fields(outputs)]
    return bool(shown) and all(isinstance(value, str) and not value.strip() for value in shown)


def _typed(value: Any, like: Any) -> Any:
    """``value`` in the type of ``like``; None where it has another one."""
    if _is_number(value) and _is_number(like):
        whole = int(value) if float(value).is_integer() else None
        return whole if isinstance(like, int) else float(value)
    return value if type(value) is type(like) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
