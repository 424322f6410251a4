"""What the metrics share."""

from __future__ import annotations


def same(one: str, other: str) -> bool:
    return one.strip() == other.strip()
