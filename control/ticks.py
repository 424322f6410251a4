"""Runs control's short, idempotent ticks; the failure of one never stops another."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

import msgspec
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from control.status import TickStatus

_log = logging.getLogger("limbeck.control")

Tick = Callable[[], object] | Callable[[], Awaitable[object]]


class Ticks:
    """Owns the scheduler. A tick never runs beside itself, and missed runs are one run."""

    def __init__(self) -> None:
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        self._health: dict[str, TickStatus] = {}
        self._running: set[asyncio.Task[None]] = set()

    def add(self, name: str, tick: Tick, *, every_s: float) -> None:
        """Run ``tick`` every ``every_s`` seconds; a plain function runs in a thread."""
        self._add(name, tick, IntervalTrigger(seconds=every_s, timezone="UTC"))

    def add_cron(self, name: str, tick: Tick, *, line: str) -> None:
        """Run ``tick`` by a cron line, UTC."""
        self._add(name, tick, CronTrigger.from_crontab(line, timezone="UTC"))

    def start(self) -> None:
        """Begin; needs a running event loop."""
        self._scheduler.start()

    async def stop(self) -> None:
        """No new runs; waits for those under way."""
        self._scheduler.pause()
        while self._running:
            await asyncio.gather(*self._running, return_exceptions=True)
        self._scheduler.shutdown(wait=False)

    @property
    def health(self) -> tuple[TickStatus, ...]:
        """Runs, failures and durations, in the order in which the ticks were added."""
        return tuple(self._health.values())

    def _add(self, name: str, tick: Tick, trigger: BaseTrigger) -> None:
        self._health[name] = TickStatus(name=name, runs=0, failures=0, last_error=None, last_s=0.0)
        self._scheduler.add_job(
            self._run,
            trigger,
            args=(name, tick),
            id=name,
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )

    async def _run(self, name: str, tick: Tick) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        started = time.monotonic()
        error: Exception | None = None
        try:
            await _call(tick)
        except Exception as raised:
            error = raised
        finally:
            self._running.discard(task)
        before = self._health[name]
        self._health[name] = after = msgspec.structs.replace(
            before,
            runs=before.runs + 1,
            failures=before.failures + (error is not None),
            last_error=f"{type(error).__name__}: {error}" if error else before.last_error,
            last_s=time.monotonic() - started,
        )
        if error is not None:
            _log.error("tick %s failed (%d times so far)", name, after.failures, exc_info=error)


async def _call(tick: Tick) -> None:
    function = tick.func if isinstance(tick, partial) else tick
    if inspect.iscoroutinefunction(function):
        await cast("Callable[[], Awaitable[object]]", tick)()
    else:
        await asyncio.to_thread(tick)
