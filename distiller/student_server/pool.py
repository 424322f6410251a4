"""A few inference threads behind a bounded queue. What does not fit is declined at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, TypeVar

from distiller.student_server.answer import Declined

T = TypeVar("T")


class Busy(Declined):
    """All threads are taken and the queue is full, or the deadline passed in the queue."""

    status: ClassVar[int] = 429
    kind: ClassVar[str] = "busy"


class Pool:
    """Use from one event loop."""

    def __init__(self, *, threads: int, queue: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="inference")
        self._room = threads + queue
        #: requests that wait or run
        self.open = 0

    async def run(self, work: Callable[[], T], *, deadline_s: float | None) -> T:
        """Run ``work`` in a thread. Raises `Busy` if it can't start in time."""
        if self.open >= self._room:
            raise Busy(f"{self.open} requests are open already, as many as fit: try again later")
        latest = None if deadline_s is None else time.monotonic() + deadline_s

        def start() -> T:
            if latest is not None and time.monotonic() > latest:
                raise Busy("the request waited in the queue until its deadline")
            return work()

        self.open += 1
        future = self._executor.submit(start)
        # Counted until the thread is free again, even if the client has gone by then.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: _call_if_open(loop, self._done))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Finish what runs; drop what waits."""
        self._executor.shutdown(cancel_futures=True)

    def _done(self) -> None:
        self.open -= 1


def _call_if_open(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback)
