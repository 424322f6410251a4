"""The hash chain of the event log: each row seals all rows before it.

A row's hash is SHA-256 over its canonical JSON (sorted keys, no hash field), which holds the hash
of the row before. Verification works on the stored JSON, not on our structs, so a row that an
older version wrote stays valid when the struct gains fields.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any, cast

import msgspec
from msgspec.structs import replace

from router.errors import ChainError
from router.events import RolloutEvent

#: The hash before the first row.
GENESIS = "0" * 64


def seal(event: RolloutEvent, *, seq: int, prev_hash: str, code_version: str) -> RolloutEvent:
    """Return ``event`` as row ``seq`` behind the row with ``prev_hash``."""
    open_row = replace(event, seq=seq, prev_hash=prev_hash, code_version=code_version, hash="")
    return replace(open_row, hash=_hash(cast("dict[str, Any]", msgspec.to_builtins(open_row))))


def line(event: RolloutEvent) -> bytes:
    """Return the canonical JSON of a sealed event, without a newline."""
    return msgspec.json.encode(event, order="sorted")


def verify(lines: Iterable[bytes]) -> list[RolloutEvent]:
    """Check the chain from its first row and return its events.

    Raises ChainError with the number of the first row that can't be trusted.
    """
    events: list[RolloutEvent] = []
    prev_hash = GENESIS
    for number, stored in enumerate(lines, start=1):
        where = f"event log, row {number}"
        try:
            row: dict[str, Any] = msgspec.json.decode(stored, type=dict[str, Any])
            event = msgspec.convert(row, RolloutEvent)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise ChainError(f"{where} is no event: {error}") from error
        if event.seq != number:
            raise ChainError(f"{where} has sequence number {event.seq}: a row is missing or twice")
        if event.prev_hash != prev_hash:
            raise ChainError(f"{where} does not follow the row before it: that one was changed")
        if event.hash != _hash(row):
            raise ChainError(f"{where} was changed after it was written")
        events.append(event)
        prev_hash = event.hash
    return events


def _hash(row: dict[str, Any]) -> str:
    canonical = {key: value for key, value in row.items() if key != "hash"}
    return sha256(msgspec.json.encode(canonical, order="sorted")).hexdigest()
