"""Cleaning of what is trained on: one row an input, and none near the held-out rows.

Exam and calibration are never touched: they must measure what users send, as often as they do.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

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
from programs.gold import ABOUT_THE_ANSWER

#: less agreement of the teacher with itself on one input teaches nothing
_AGREEMENT = 2 / 3


class Cleaned(NamedTuple):
    kept: list[Row]
    dropped: list[Dropped]


def deduplicate(rows: Iterable[Row], *, program: bool) -> Cleaned:
    """Keep the best row of each normalised input within its split; count those that agree on it.

    Corrections come first, then the commonest answer, the best score, the newest. Where the
    teacher's answers to one input agree in less than two thirds, and no correction settles it, all
    of them go. Volunteered corrections settle only that: verified answers that agree outweigh them.
    """
    groups: defaultdict[tuple[str, Split], list[Row]] = defaultdict(list)
    for row in rows:
        key = inputs_key(row.inputs) if program else messages_key(messages_of(row.request))
        groups[key, row.split].append(row)
    kept: list[Row] = []
    dropped: list[Dropped] = []
    for group in groups.values():
        best = _best(group)
        if best is None:
            dropped += [_drop(row, Drop.TEACHER_DISAGREES) for row in group]
            continue
        others = [_drop(row, _lost_to(best, row)) for row in group if row is not best]
        same = sum(other.reason is Drop.DUPLICATE for other in others)
        kept.append(msgspec.structs.replace(best, n_dups=same))
        dropped += others
    return Cleaned(kept, dropped)


def decontaminate(train: Sequence[Row], held_out: Sequence[Row], *, program: bool) -> Cleaned:
    """Drop the train rows whose inputs are near a held-out row's."""
    near = near_inputs(train, held_out, program=program)
    kept = [row for row, close in zip(train, near, strict=True) if not close]
    dropped = [
        _drop(row, Drop.NEAR_HOLDOUT) for row, close in zip(train, near, strict=True) if close
    ]
    return Cleaned(kept, dropped)


def near_inputs(rows: Sequence[Row], others: Sequence[Row], *, program: bool) -> list[bool]:
    """Say for each row whether its inputs are near those of one of the others."""
    read = [_read(row, program=program) for row in (*rows, *others)]
    near = []
    for reading in dict.fromkeys(zip(*read, strict=True)):
        texts = without_template(reading)
        near.append(near_rows(texts[: len(rows)], texts[len(rows) :]))
    return [any(marks) for marks in zip(*near, strict=True)]


def cap_exam(exam: Sequence[Row], most: int) -> Cleaned:
    """At most ``most`` exam rows, chosen by a hash of the trace, so that the choice is stable."""
    if len(exam) <= most:
        return Cleaned(list(exam), [])
    ordered = sorted(exam, key=lambda row: blake2b(row.trace_id.encode()).digest())
    return Cleaned(ordered[:most], [_drop(row, Drop.EXAM_FULL) for row in ordered[most:]])


def _best(group: Sequence[Row]) -> Row | None:
    """The row that stays; None: the teacher contradicts itself, and nobody settles it."""
    from_teacher = [row for row in group if row.source is Source.TEACHER]
    agree = bool(from_teacher) and _agreement(from_teacher) >= _AGREEMENT
    candidates = (
        [row for row in group if row.source is Source.CORRECTION],
        from_teacher if agree else [],
        [row for row in group if row.source is Source.VOLUNTEERED],
    )
    rows = next((rows for rows in candidates if rows), None)
    if rows is None:
        return None
    given = Counter(_answer(row) for row in rows)
    return max(rows, key=lambda row: (given[_answer(row)], *_rank(row)))


def _rank(row: Row) -> tuple[float, str, str]:
    return -1.0 if row.score is None else row.score, row.trace_id, row.call_id or ""


def _lost_to(best: Row, row: Row) -> Drop:
    if _answer(row) == _answer(best):
        return Drop.DUPLICATE
    outvoted = row.source is Source.VOLUNTEERED and best.source is not Source.VOLUNTEERED
    return Drop.OUTVOTED if outvoted else Drop.OTHER_ANSWER


def _agreement(group: Sequence[Row]) -> float:
    """Share of the commonest answer."""
    return max(Counter(_answer(row) for row in group).values()) / len(group)


def _answer(row: Row) -> bytes:
    return canonical({k: v for k, v in row.outputs.items() if k not in ABOUT_THE_ANSWER})


def _read(row: Row, *, program: bool) -> tuple[str, ...]:
    """The texts that a student reads of a row: on a plain route a classifier reads less."""
    inputs = "\n".join(flatten(row.inputs[name]) for name in sorted(row.inputs))
    return (inputs,) if program else (inputs, user_text(messages_of(row.request)))


def _drop(row: Row, reason: Drop) -> Dropped:
    return Dropped(
        trace_id=row.trace_id,
        call_id=row.call_id,
        predictor=row.predictor,
        split=row.split,
        reason=reason,
        score=row.score,
    )
