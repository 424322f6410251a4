"""Training rows: one JSON object a line, as the distiller uploads them.

``messages`` ends with the assistant's answer. ``inputs``, ``outputs``, ``split`` and ``weight`` are
limbeck's additions; without them a row is that of a plain route (text in, answer out).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from distiller.chat import Message, last_user_text, message_of
from distiller.errors import DistillerError

Split = Literal["train", "dev", "calibration"]
_SPLITS = get_args(Split)


class RowError(DistillerError):
    """A training row is malformed: ``line 7: ...``."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One example."""

    #: the prompt, without the answer
    prompt: tuple[Message, ...]
    #: the assistant's text
    answer: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    #: None: the file does not say
    split: Split | None
    weight: float


def read_rows(path: Path, *, split: Split) -> list[Row]:
    """Read a file that was checked at its upload; ``split`` is what rows without one belong to."""
    with path.open("rb") as file:
        return [
            row if row.split is not None else msgspec.structs.replace(row, split=split)
            for row in parse_lines(file)
        ]


def parse_lines(lines: Iterable[bytes]) -> Iterator[Row]:
    """Parse JSON lines, skipping blank ones. Raises `RowError` with the line's number from 1."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield parse_row(line)
        except ValueError as error:
            raise RowError(f"line {number}: {error}") from None


def parse_row(line: bytes) -> Row:
    """Parse one line. Raises `ValueError` that says what is wrong with it."""
    try:
        item = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not JSON ({error})") from None
    if not isinstance(item, dict):
        raise ValueError("a row must be a JSON object")
    prompt, answer = _conversation(item.get("messages"))
    return Row(
        prompt=prompt,
        answer=answer,
        inputs=_object(item, "inputs") or {"text": last_user_text(prompt)},
        outputs=_object(item, "outputs") or {"answer": answer},
        split=_split(item.get("split")),
        weight=_weight(item.get("weight", 1.0)),
    )


def _conversation(messages: Any) -> tuple[tuple[Message, ...], str]:
    if not isinstance(messages, list) or len(messages) < 2:
        raise ValueError("messages must be a list of at least two messages")
    parsed = []
    for position, item in enumerate(messages):
        try:
            parsed.append(message_of(item))
        except ValueError as error:
            raise ValueError(f"messages[{position}]: {error}") from None
    if parsed[-1].role != "assistant" or not parsed[-1].content.strip():
        raise ValueError("the last message must be the assistant's, with text")
    return tuple(parsed[:-1]), parsed[-1].content


def _object(item: dict[str, Any], key: str) -> dict[str, Any] | None:
    value = item.get(key)
    if value is None:
        return None
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{key} must be an object with at least one field")
    return value


def _split(value: Any) -> Split | None:
    if value is not None and value not in _SPLITS:
        raise ValueError(f"split must be one of {', '.join(_SPLITS)}, not {value!r}")
    return value  # type: ignore[no-any-return]


def _weight(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        raise ValueError(f"weight must be a number above 0, not {value!r}")
    return float(value)
