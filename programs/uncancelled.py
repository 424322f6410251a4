"""Work in a thread can't be stopped: whoever waits for it must know when it has really ended."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def uncancelled(work: Coroutine[Any, Any, T]) -> T:
    """Await ``work``. A cancellation waits for its end too, and drops its result."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        await asyncio.wait({task})
        seen(task)
        raise
    return task.result()


async def contained(work: Coroutine[Any, Any, T]) -> T:
    """Await ``work``. Its `SystemExit` becomes an error: of a task it would end the event loop."""
    try:
        return await work
    except SystemExit as error:
        raise RuntimeError(f"exit({error.code!r}) was called") from error


def seen(task: asyncio.Task[Any]) -> None:
    """Take note of how a task ended that nobody asks any more."""
    if not task.cancelled():
        task.exception()
