"""Fewer points than there are: what a plot cannot show need not be drawn, or stored. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def thinned(points: Sequence[T], most: int) -> Sequence[T]:
    """At most ``most`` (2 or more) of the points, evenly, the first and the last among them."""
    if len(points) <= most:
        return points
    step = (len(points) - 1) / (most - 1)
    return [points[round(n * step)] for n in range(most)]
