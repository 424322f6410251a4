"""What feedback says is the right output: one reading for metric and training rows. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from programs.answer import HIDDEN, prediction_of
from programs.json_values import canonical_json, encode_canonically, json_object

#: the one field of a plain route's answer
ANSWER = "answer"
#: what a model says about its own answer; gold that names no field is never about these
ABOUT_THE_ANSWER = HIDDEN | {"confidence"}


class PlainGold(NamedTuple):
    """The right output of a plain route."""

    #: what a student is to write
    text: str
    #: what the metric's example gets
    fields: dict[str, Any]


def program_gold(gold: Any, output_fields: Collection[str]) -> dict[str, Any]:
    """Return gold (a JSON value) as a program's output fields.

    An object names its fields, and so does a text that is one. Any other value belongs to the only
    output that answers, or to ``answer`` where there is not exactly one.
    """
    if isinstance(gold, dict):
        return gold
    answering = [name for name in output_fields if name not in ABOUT_THE_ANSWER]
    if isinstance(gold, str):
        return prediction_of(gold, answering)
    return {answering[0] if len(answering) == 1 else ANSWER: gold}


def plain_gold(gold: Any, *, as_json: bool) -> PlainGold:
    """Return gold (a JSON value) of a plain route.

    ``as_json``: the route answers in JSON; then an object, or a text that is one, is the whole
    answer. Else an object may hold the answer in its field ``answer``.
    """
    if as_json:
        text = plain_answer(gold, as_json=True)
        return PlainGold(text, {ANSWER: text} | (json_object(text) or {}))
    fields = gold if isinstance(gold, dict) else {}
    fields = {ANSWER: gold} | fields
    answer = fields[ANSWER]
    return PlainGold("" if answer is None else plain_answer(answer, as_json=False), fields)


def plain_answer(answer: Any, *, as_json: bool) -> str:
    """Return a plain route's answer as text; of JSON the canonical one, so that equals agree."""
    if isinstance(answer, str):
        return canonical_json(answer) if as_json else answer
    return encode_canonically(answer)
