"""All children together: started at once, restarted one by one, stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from control.files import write_atomically
from control.supervisor.child import Child, ChildSpec, Report, RestartPolicy
from control.supervisor.health import answers_ok

_POLL_S = 0.1


class ProcessState(msgspec.Struct, frozen=True, kw_only=True):
    """One child, as `processes.json` has it."""

    name: str
    #: None: not running at the moment
    pid: int | None
    restarts: int


class Supervisor:
    """Runs the children of ``specs`` from `start` to `stop`, both on one event loop.

    ``state``: file that names the running processes, for people and scripts.
    """

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        *,
        logs: Path,
        state: Path,
        report: Report,
        restart: RestartPolicy | None = None,
    ) -> None:
        self._state = state
        self._children = [
            Child(
                spec,
                logs=logs,
                policy=restart or RestartPolicy(),
                report=report,
                changed=self._write_state,
            )
            for spec in specs
        ]
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def processes(self) -> tuple[ProcessState, ...]:
        """The children as they are now."""
        return tuple(
            ProcessState(name=child.spec.name, pid=child.pid, restarts=child.restarts)
            for child in self._children
        )

    async def start(self) -> None:
        """Start every child. Returns at once: see `ready`."""
        self._tasks = [
            asyncio.create_task(child.run(), name=f"child {child.spec.name}")
            for child in self._children
        ]

    async def ready(self, timeout_s: float) -> tuple[str, ...]:
        """Wait until every child's health URL answers; the names of those that did not in time."""
        waiting = {child.spec.name: child.spec.health_url for child in self._children}
        deadline = time.monotonic() + timeout_s
        while True:
            for name, url in list(waiting.items()):
                if url is None or await answers_ok(url):
                    del waiting[name]
            if not waiting or time.monotonic() >= deadline:
                return tuple(waiting)
            await asyncio.sleep(_POLL_S)

    async def stop(self) -> None:
        """Stop every child, rank by rank; ends within the sum of the ranks' longest ``stop_s``."""
        for rank in sorted({child.spec.stop_rank for child in self._children}):
            await asyncio.gather(
                *(child.stop() for child in self._children if child.spec.stop_rank == rank)
            )
        await self._finish()

    async def kill(self) -> None:
        """End every child at once."""
        for child in self._children:
            child.kill()
        await self._finish()

    async def _finish(self) -> None:
        await asyncio.gather(*self._tasks)
        with contextlib.suppress(OSError):
            self._state.unlink(missing_ok=True)

    def _write_state(self) -> None:
        # A full disk must not stop the supervisor: the file is for people and scripts only.
        with contextlib.suppress(OSError):
            write_atomically(self._state, msgspec.json.encode(self.processes))
