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
#: a coroutine that waits for somebody else (a provider, a metric) is cancelled after that, seconds
_STOP_S = 2.0

Tick = Callable[[], object] | Callable[[], Awaitable[object]]


class Ticks:
    """Owns the scheduler. A tick never runs beside itself, and missed runs are one run."""

    def __init__(self) -> None:
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        self._health: dict[str, TickStatus] = {}
        #: tick -> the error of its last run; a tick may fail the same way four times a second
        self._failing: dict[str, str] = {}
        #: the runs under way -> whether they are coroutines, which can be cancelled
        self._running: dict[asyncio.Task[None], bool] = {}

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
        """No new runs. What runs in a thread may end; a coroutine has seconds.

        Ticks are idempotent over durable state, so a cancelled one is only done again.
        """
        self._scheduler.pause()
        if self._running:
            await asyncio.wait(self._running, timeout=_STOP_S)
        for task, cancellable in self._running.items():
            if cancellable:
                task.cancel()
        while self._running:
            await asyncio.wait(self._running)
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
        self._running[task] = cancellable = _is_coroutine(tick)
        started = time.monotonic()
        error: Exception | None = None
        try:
            if cancellable:
                await cast("Callable[[], Awaitable[object]]", tick)()
            else:
                await asyncio.to_thread(tick)
        except Exception as raised:
            error = raised
        except asyncio.CancelledError:
            return  # by `stop`
        finally:
            del self._running[task]
        before = self._health[name]
        words = f"{type(error).__name__}: {error}" if error else None
        self._health[name] = after = msgspec.structs.replace(
            before,
            runs=before.runs + 1,
            failures=before.failures + (error is not None),
            last_error=words,
            last_s=time.monotonic() - started,
        )
        if words is None:
            self._failing.pop(name, None)
        elif self._failing.get(name) != words:
            self._failing[name] = words
            _log.error("tick %s failed (%d times so far)", name, after.failures, exc_info=error)


def _is_coroutine(tick: Tick) -> bool:
    return inspect.iscoroutinefunction(tick.func if isinstance(tick, partial) else tick)
