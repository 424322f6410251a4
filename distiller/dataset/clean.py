"""Cleaning of what is trained on: one row an input, and none near the held-out rows.

Exam and calibration are never touched: they must measure what users send, as often as they do.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from distiller.dataset.gold import ABOUT_THE_ANSWER
from distiller.dataset.near import near_rows
from distiller.dataset.text import (
    canonical,
    flatten,
    inputs_key,
    messages_key,
    messages_of,
    user_text,
    without_template,
)
from distiller.dataset.values import Drop, Dropped, Row, Source, Split

#: less agreement of the teacher with itself on one input teaches nothing
_AGREEMENT = 2 / 3


class Cleaned(NamedTuple):
    kept: list[Row]
    dropped: list[Dropped]


def deduplicate(rows: Iterable[Row], *, program: bool) -> Cleaned:
    """Keep the best row of each normalised input within its split; count the others on it.

    Corrections come first, then the best score, then the newest. Where the teacher's answers to
    one input agree in less than two thirds, and no correction settles it, all of them go.
    """
    groups: defaultdict[tuple[str, Split], list[Row]] = defaultdict(list)
    for row in rows:
        key = inputs_key(row.inputs) if program else messages_key(messages_of(row.request))
        groups[key, row.split].append(row)
    kept: list[Row] = []
    dropped: list[Dropped] = []
    for group in groups.values():
        best, *others = sorted(group, key=_rank, reverse=True)
        if best.source is Source.TEACHER and _agreement(group) < _AGREEMENT:
            dropped += [_drop(row, Drop.TEACHER_DISAGREES) for row in group]
            continue
        kept.append(msgspec.structs.replace(best, n_dups=len(others)))
        dropped += [_drop(row, Drop.DUPLICATE) for row in others]
    return Cleaned(kept, dropped)


def decontaminate(train: Sequence[Row], held_out: Sequence[Row], *, program: bool) -> Cleaned:
    """Drop the train rows whose inputs are near a held-out row's."""
    texts = without_template([_compared(row, program=program) for row in (*train, *held_out)])
    near = near_rows(texts[: len(train)], texts[len(train) :])
    kept = [row for row, close in zip(train, near, strict=True) if not close]
    dropped = [
        _drop(row, Drop.NEAR_HOLDOUT) for row, close in zip(train, near, strict=True) if close
    ]
    return Cleaned(kept, dropped)


def cap_exam(exam: Sequence[Row], most: int) -> Cleaned:
    """At most ``most`` exam rows, chosen by a hash of the trace, so that the choice is stable."""
    if len(exam) <= most:
        return Cleaned(list(exam), [])
    ordered = sorted(exam, key=lambda row: blake2b(row.trace_id.encode()).digest())
    return Cleaned(ordered[:most], [_drop(row, Drop.EXAM_FULL) for row in ordered[most:]])


def _rank(row: Row) -> tuple[bool, float, str, str]:
    score = -1.0 if row.score is None else row.score
    return row.source is Source.CORRECTION, score, row.trace_id, row.call_id or ""


def _agreement(group: Sequence[Row]) -> float:
    """Share of the commonest answer."""
    answers = Counter(
        canonical({k: v for k, v in row.outputs.items() if k not in ABOUT_THE_ANSWER})
        for row in group
    )
    return max(answers.values()) / len(group)


def _compared(row: Row, *, program: bool) -> str:
    if program:
        return "\n".join(flatten(row.inputs[name]) for name in sorted(row.inputs))
    return user_text(messages_of(row.request))


def _drop(row: Row, reason: Drop) -> Dropped:
    return Dropped(
        trace_id=row.trace_id,
        call_id=row.call_id,
        predictor=row.predictor,
        split=row.split,
        reason=reason,
        score=row.score,
    )
