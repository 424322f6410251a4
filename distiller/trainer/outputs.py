"""Which outputs can be learnt as a choice among the values seen (a closed set), and which can't."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from distiller.trainer.refusal import Refused

#: the output that shows the student's calibrated probability instead of being learnt
CONFIDENCE = "confidence"
#: outputs that small students don't write
DROPPED = frozenset({"reasoning"})
MOST_VALUES = 200
#: Good-Turing: the share of rows whose value was seen once estimates the share still unseen
MOST_SINGLETONS = 0.02

Value = str | int | bool | None


class ClosedField(NamedTuple):
    name: str
    #: sorted, so that equal rows give equal models
    values: tuple[Value, ...]


class LearnableOutputs(NamedTuple):
    """What a classifier learns from rows, and what it fills in."""

    closed: tuple[ClosedField, ...]
    confidence: str | None
    #: all fields of an answer, in the order of the rows
    order: tuple[str, ...]


def learnable_outputs(rows: Sequence[Mapping[str, Any]]) -> LearnableOutputs:
    """Find the closed fields of the rows' outputs.

    Raises `Refused`, naming the field, if any field that must be learnt is open.
    """
    names = [name for name in rows[0] if name not in DROPPED]
    for number, outputs in enumerate(rows, 1):
        if set(outputs) - DROPPED != set(names):
            raise Refused(
                f"training row {number} has the outputs {sorted(outputs)}, the first one has "
                f"{sorted(rows[0])}: train on rows of one signature"
            )
    confidence = next((name for name in names if _is_confidence(name, rows)), None)
    closed = tuple(
        ClosedField(name, closed_values(name, [row[name] for row in rows]))
        for name in names
        if name != confidence
    )
    if not closed:
        raise Refused(f"the outputs {names} leave nothing to learn but the confidence")
    return LearnableOutputs(closed, confidence, tuple(names))


def closed_values(name: str, values: Sequence[Any]) -> tuple[Value, ...]:
    """Return the distinct values of an output, sorted. Raises `Refused` if the set is open."""
    for value in values:
        if isinstance(value, float):
            raise Refused(
                f"output {name!r} is a number with decimals, which a classifier can't choose. "
                f"Only a float output named {CONFIDENCE!r} is filled in. {_WAY_OUT}"
            )
        if isinstance(value, list | dict):
            raise Refused(f"output {name!r} is a {type(value).__name__}, not one value. {_WAY_OUT}")
    counts = Counter((type(value).__name__, value) for value in values)
    if len(counts) > MOST_VALUES:
        raise Refused(
            f"output {name!r} has {len(counts)} different values in {len(values)} rows "
            f"(at most {MOST_VALUES}): it is free text. {_WAY_OUT}"
        )
    singletons = sum(1 for n in counts.values() if n == 1)
    if singletons > MOST_SINGLETONS * len(values):
        raise Refused(
            f"output {name!r}: {singletons} of {len(values)} rows have a value that no other row "
            f"has ({singletons / len(values):.1%}, at most {MOST_SINGLETONS:.0%}), so many values "
            f"are still unseen. Collect more rows, or: {_WAY_OUT}"
        )
    return tuple(value for _, value in sorted(counts, key=lambda key: (key[0], str(key[1]))))


def _is_confidence(name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    return name == CONFIDENCE and all(
        isinstance(row[name], int | float) and not isinstance(row[name], bool) for row in rows
    )


_WAY_OUT = "Free text needs a pretrained base model, which this trainer does not have"
