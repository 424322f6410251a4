"""Where an axis has its ticks: round numbers, powers of ten, or round times. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

#: a span that is a smaller part of its ends has no round numbers that floats can tell apart
_FINEST = 1e-12
_DECADE = math.log(10)
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400
#: spans that a clock or a calendar calls round, seconds
_CLOCK = (
    *(1, 2, 5, 10, 15, 30),
    *(n * _MINUTE_S for n in (1, 2, 5, 10, 15, 30)),
    *(n * _HOUR_S for n in (1, 2, 3, 6, 12)),
    *(n * _DAY_S for n in (1, 2, 7, 14, 30, 90, 365)),
)


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round values inside [low, high], roughly ``about`` of them."""
    span = high - low
    if not span > _FINEST * max(abs(low), abs(high)):
        return [low]
    raw = span / about
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(m * size for m in (1, 2, 2.5, 5, 10) if m * size >= raw * (1 - 1e-9))
    return list(_multiples(step, low, high))


def log_ticks(low: float, high: float, about: int) -> list[float]:
    """Natural logarithms of powers of ten inside [low, high], roughly ``about`` of them."""
    wanted = (high - low) / _DECADE / about
    step = next(
        digit * 10**zeros
        for zeros in itertools.count()
        for digit in (1, 2, 3, 5)
        if digit * 10**zeros >= wanted
    )
    powers = list(_multiples(step * _DECADE, low, high))
    # One or none gives no idea of the scale.
    return powers if len(powers) > 1 else ticks(low, high, about)


def time_ticks(low: float, high: float, about: int) -> list[float]:
    """Round moments (UTC) inside [low, high] (Unix seconds), roughly ``about`` of them."""
    wanted = (high - low) / about
    if wanted < _CLOCK[0]:
        return ticks(low, high, about)
    step = next((step for step in _CLOCK if step >= wanted), None)
    return ticks(low, high, about) if step is None else list(_multiples(step, low, high))


def _multiples(step: float, low: float, high: float) -> Iterator[float]:
    for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1):
        yield n * step
