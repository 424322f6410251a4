"""How many requests run at a time, and how many may wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from programs.errors import Busy


class Slots:
    """A semaphore with a bounded queue: who would have to stand outside is refused."""

    def __init__(self, running: int, *, waiting: int) -> None:
        self._semaphore = asyncio.Semaphore(running)
        self._limit = running + waiting
        self._inside = 0

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Wait for a slot and hold it. Raises `Busy`."""
        if self._inside >= self._limit:
            raise Busy(f"{self._inside} requests run or wait already")
        self._inside += 1
        try:
            async with self._semaphore:
                yield
        finally:
            self._inside -= 1
