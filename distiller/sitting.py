"""One candidate's exam while it lasts: the replies so far, and how long it has tried in vain.

Kept in memory alone: after a restart of control the exam is taken again from its first row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from distiller.dataset.values import Row
from distiller.exam import Answered, Failed

#: asks a candidate one row
Ask = Callable[[Row], Awaitable[Answered | Failed]]
#: so many rows in a row without anybody there end a try: the rest would go the same way
_GIVE_UP = 20


class Sitting:
    """Use from one event loop, one try at a time."""

    def __init__(self, candidate: str) -> None:
        self.candidate = candidate
        #: since when no try has brought a reply, Unix seconds; None: the last one has
        self.vain_since: float | None = None
        #: trace -> the candidate's reply, or the newest failure to get one
        self.replies: dict[str, Answered | Failed] = {}

    def waiting(self, rows: Sequence[Row]) -> list[Row]:
        """The rows that nobody has answered yet."""
        return [row for row in rows if _nobody(self.replies.get(row.trace_id))]

    async def ask(self, rows: Sequence[Row], ask: Ask, *, concurrency: int, now: float) -> None:
        """Ask the rows that still wait, at most ``concurrency`` at a time.

        ``now``: when this try began, Unix seconds.
        """
        before = self.waiting(rows)
        left = iter(before)
        in_vain = 0

        async def work() -> None:
            nonlocal in_vain
            for row in left:
                reply = self.replies[row.trace_id] = await ask(row)
                in_vain = in_vain + 1 if _nobody(reply) else 0
                if in_vain >= _GIVE_UP:
                    return

        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())
        if len(self.waiting(rows)) < len(before):
            self.vain_since = None
        elif self.vain_since is None:
            self.vain_since = now


def _nobody(reply: Answered | Failed | None) -> bool:
    return reply is None or (isinstance(reply, Failed) and reply.unreachable)
