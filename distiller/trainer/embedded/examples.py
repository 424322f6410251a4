"""Rows as prompt and completion, and the refusal of what a model without a base can't learn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from distiller.artefact import Adapter
from distiller.chat import Message
from distiller.student_server.shapes import parse_answer, with_placeholder
from distiller.trainer.outputs import CONFIDENCE, closed_values
from distiller.trainer.refusal import Refused
from distiller.trainer.rows import Row

#: Good-Turing: the share of answers that were seen once estimates what is still unseen
MOST_SINGLETONS = 0.2
#: characters of an answer, boilerplate left out
MOST_ANSWER_LENGTH = 400


class Example(NamedTuple):
    """What the model reads, and what it is to write."""

    prompt: tuple[Message, ...]
    completion: str


class Answers(NamedTuple):
    """What is known about the answers of the training rows."""

    #: field -> its values as text; None: the field is open
    values: dict[str, tuple[str, ...] | None]
    #: field that is filled in by the server
    confidence: str | None


def study_answers(rows: Sequence[Row], adapter: Adapter) -> Answers:
    """Learn the fields of the training answers. Raises `Refused` for free text."""
    parsed = []
    for number, row in enumerate(rows, 1):
        try:
            parsed.append(parse_answer(row.answer, adapter))
        except ValueError as error:
            raise Refused(
                f"training row {number}: {error}, but metadata.adapter is {adapter!r}"
            ) from None
    names = list(parsed[0])
    for number, fields in enumerate(parsed, 1):
        if fields.keys() != set(names):
            raise Refused(
                f"training row {number} answers the fields {sorted(fields)}, the first one "
                f"{sorted(names)}: train on rows of one signature"
            )
    confidence = CONFIDENCE if _is_filled(parsed) else None
    learnt = [name for name in names if name != confidence]
    if not learnt:
        raise Refused("the answers hold nothing to learn but the confidence")
    _refuse_free_text([tuple(fields[name] for name in learnt) for fields in parsed])
    values = {name: _values(name, [fields[name] for fields in parsed]) for name in learnt}
    return Answers(values, confidence)


def example_of(row: Row, answers: Answers, adapter: Adapter) -> Example:
    """Turn a row into what is trained on, the confidence replaced by its placeholder."""
    completion = row.answer.strip()
    if answers.confidence is not None:
        completion = with_placeholder(completion, answers.confidence, adapter)
    return Example(row.prompt, completion)


def _refuse_free_text(answers: Sequence[tuple[str, ...]]) -> None:
    singletons = sum(1 for n in Counter(answers).values() if n == 1)
    if singletons > MOST_SINGLETONS * len(answers):
        raise Refused(
            f"{singletons / len(answers):.0%} of the answers occur once (at most "
            f"{MOST_SINGLETONS:.0%}): this is free text. {_WAY_OUT}"
        )
    longest = max(sum(map(len, answer)) for answer in answers)
    if longest > MOST_ANSWER_LENGTH:
        raise Refused(
            f"an answer has {longest} characters (at most {MOST_ANSWER_LENGTH}). {_WAY_OUT}"
        )


def _values(name: str, texts: Sequence[str]) -> tuple[str, ...] | None:
    try:
        return tuple(str(value) for value in closed_values(name, texts))
    except Refused:
        return None


def _is_filled(parsed: Sequence[dict[str, str]]) -> bool:
    return CONFIDENCE in parsed[0] and all(_is_number(f.get(CONFIDENCE, "")) for f in parsed)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


_WAY_OUT = (
    "It needs a pretrained base model, which this trainer does not have; keep this predictor on "
    "the teacher"
)
