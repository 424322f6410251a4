"""Timestamps of the tables: naive UTC, built from the epoch (`fromtimestamp` would be local)."""

from __future__ import annotations

from datetime import datetime, timedelta

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the tables' timestamps are naive


def from_us(us: int) -> datetime:
    """Return Unix microseconds as a table's timestamp."""
    return _EPOCH + timedelta(microseconds=us)


def from_seconds(seconds: float) -> datetime:
    """Return Unix seconds as a table's timestamp."""
    return _EPOCH + timedelta(seconds=seconds)


def to_seconds(ts: datetime) -> float:
    """Return a table's timestamp as Unix seconds."""
    return (ts - _EPOCH).total_seconds()
