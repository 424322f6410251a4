"""The built-in metric ``exact_match(FIELD)``: the gold, but for case and spaces. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from programs.errors import LoadError
from programs.score import Score

_FORM = re.compile(r"exact_match\(\s*([A-Za-z_]\w*)\s*\)")


def exact_match_field(spec: str) -> str | None:
    """Return the field of ``exact_match(FIELD)``; None where ``spec`` names a user's metric."""
    found = _FORM.fullmatch(spec.strip())
    if found:
        return found.group(1)
    if spec.strip().startswith("exact_match"):
        raise LoadError(f'metric "{spec}": write exact_match(FIELD), with the name of one output')
    return None


def exact_match(field: str, example: Mapping[str, Any], prediction: Mapping[str, Any]) -> Score:
    """Compare ``field`` of the prediction with the gold; without gold it is not scored."""
    gold = example.get(field)
    if gold is None:
        return Score(not_scored=f"no gold for `{field}`")
    return Score(value=float(_same(gold, prediction.get(field))))


def _same(gold: Any, given: Any) -> bool:
    if _is_number(gold) and _is_number(given):
        return bool(gold == given)
    if isinstance(gold, str) or isinstance(given, str):
        return given is not None and _plain(gold) == _plain(given)
    return bool(gold == given)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: Any) -> str:
    return " ".join(str(value).split()).casefold()
