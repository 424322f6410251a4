"""Runs of a host's programs: a deadline for each, and a bound on how many there are at a time.

A synchronous program runs in a thread, which nothing can stop: it may go on when its caller has
long been answered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from programs.dspy_compat import Program
from programs.errors import DeadlinePassed
from programs.recording import Recording
from programs.slots import Slots
from programs.uncancelled import seen

#: an asynchronous program that is stopped ends within this, seconds
_STOP_S = 0.02
_log = logging.getLogger("limbeck.program_host")


@dataclass
class _Begun:
    """Whether a run has got its slot."""

    yes: bool = False


class BoundedRuns:
    """At most ``running`` runs at a time; four times as many wait, and others are refused.

    A run that can't be stopped keeps its slot until it ends, so that threads which nobody waits
    for any more don't pile up.
    """

    def __init__(self, running: int) -> None:
        self._running = running
        self._slots = Slots(running, waiting=4 * running)
        #: runs that have gone on beyond their deadline, each in its slot
        self._abandoned: set[asyncio.Task[dict[str, Any]]] = set()
        self._warned = False

    @property
    def hung(self) -> bool:
        """Every slot is held by a run that nobody waits for: no request can be answered."""
        return len(self._abandoned) >= self._running

    async def run(
        self,
        program: Program,
        inputs: Mapping[str, Any],
        recording: Recording,
        deadline: float | None,
    ) -> dict[str, Any]:
        """Return the outputs. ``deadline``: the event loop's time, or None.

        Raises a `HostError`, of these `Busy` and `DeadlinePassed` before the program has ended.
        """
        begun = _Begun()

        async def in_slot() -> dict[str, Any]:
            async with self._slots.take():
                begun.yes = True
                return await program.run(inputs, recording)

        task = asyncio.create_task(in_slot())
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.wait({task})
        except TimeoutError:
            self._abandon(task, begun)
            may_run_tools = begun.yes and _has_tools(program)
            if may_run_tools:
                await asyncio.wait({task}, timeout=_STOP_S)
                may_run_tools = not task.done()
            late = "the caller's deadline has passed"
            raise DeadlinePassed(late, tools_may_run=may_run_tools) from None
        except asyncio.CancelledError:
            self._abandon(task, begun)
            raise
        return task.result()

    def _abandon(self, task: asyncio.Task[dict[str, Any]], begun: _Begun) -> None:
        """Stop a run, and keep what can't be stopped: the event loop alone would not."""
        task.add_done_callback(seen)
        task.cancel()
        if begun.yes:
            self._abandoned.add(task)
            task.add_done_callback(self._ended)
            asyncio.get_running_loop().call_later(_STOP_S, self._warn_if_hung)

    def _ended(self, task: asyncio.Task[dict[str, Any]]) -> None:
        self._abandoned.discard(task)
        self._warned = False

    def _warn_if_hung(self) -> None:
        if not self.hung or self._warned:
            return
        self._warned = True
        _log.error(
            "all %d requests that may run at a time have gone on beyond their deadlines: nothing "
            "is answered before one of them ends. Give the program's own calls a time limit, and "
            "restart this host",
            self._running,
        )


def _has_tools(program: Program) -> bool:
    """Whether a `dspy.Tool` is part of it; what a run makes itself is seen only when it runs."""
    return bool(program.description.body["tools"])
