"""Waiting for a condition: poll with a deadline, never sleep blindly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_PAUSE_S = 0.01


def until(condition: Callable[[], T], *, seconds: float = 10.0, what: str = "the condition") -> T:
    """Return the first true value of ``condition``; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s; last value {value!r}")
        time.sleep(_PAUSE_S)


async def until_async(
    condition: Callable[[], T], *, seconds: float = 10.0, what: str = "the condition"
) -> T:
    """As `until`, without blocking the event loop."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s; last value {value!r}")
        await asyncio.sleep(_PAUSE_S)
