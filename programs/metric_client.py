"""A route's metric, as control uses it: built in, or the user's in a child process.

Whatever a metric does (raises, hangs, exits, eats memory), control gets a `Score` that says so.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from programs.child import console_script, environment_of_child, kill_group
from programs.errors import LoadError
from programs.exact_match import exact_match, exact_match_field
from programs.json_values import json_safe
from programs.metric_hash import metric_hash as hash_of_source
from programs.metric_runner import Call, Ready
from programs.score import Score
from programs.settings import MetricRunnerSettings

#: longest line of the protocol, bytes
_LONGEST_LINE = 64 << 20
_END_S = 5.0
#: a child that is ending by itself gets this to say its exit code
_DYING_S = 0.2


class Metric(Protocol):
    """Scores one prediction at a time."""

    async def check(self) -> None:
        """Raise `LoadError` where the metric cannot be used at all."""
        ...

    async def score(self, example: Mapping[str, Any], prediction: Mapping[str, Any]) -> Score: ...

    async def close(self) -> None: ...


def metric_for(
    spec: str, *, metric_hash: str, route: str, user_dir: Path, timeout_s: float = 30.0
) -> Metric:
    """Return the metric that ``spec`` names: ``exact_match(FIELD)`` or ``module:attribute``.

    ``metric_hash``: what its scores are kept under.
    """
    field = exact_match_field(spec)
    if field is not None:
        return ExactMatch(field)
    settings = MetricRunnerSettings(route=route, metric=spec, user_dir=user_dir)
    return MetricRunner(settings, metric_hash=metric_hash, timeout_s=timeout_s)


class ExactMatch:
    """``exact_match(FIELD)``; needs no process of its own."""

    def __init__(self, field: str) -> None:
        self._field = field

    async def check(self) -> None:
        return

    async def score(self, example: Mapping[str, Any], prediction: Mapping[str, Any]) -> Score:
        return exact_match(self._field, example, prediction)

    async def close(self) -> None:
        return


class MetricRunner:
    """Runs the user's metric in a child that starts when it is first needed.

    A call that passes its deadline ends the child, and the next call starts another one, but only
    from the source that ``metric_hash`` stands for: scores are kept under it. Use it from one
    event loop.
    """

    def __init__(
        self,
        settings: MetricRunnerSettings,
        *,
        metric_hash: str,
        timeout_s: float = 30.0,
        start_timeout_s: float = 60.0,
    ) -> None:
        self._settings = settings
        self._metric_hash = metric_hash
        self._timeout_s = timeout_s
        self._start_timeout_s = start_timeout_s
        self._child: Process | None = None
        # Invariant of the lock: at most one call is under way, so replies need no ids.
        self._lock = asyncio.Lock()

    async def check(self) -> None:
        async with self._lock:
            await self._started()

    async def score(self, example: Mapping[str, Any], prediction: Mapping[str, Any]) -> Score:
        """Never raises for anything that the metric does."""
        call = Call(example=json_safe(example), prediction=json_safe(prediction))
        async with self._lock:
            try:
                child = await self._started()
            except LoadError as error:
                return Score(not_scored=str(error))
            try:
                line = await self._exchange(child, msgspec.json.encode(call), self._timeout_s)
                return msgspec.json.decode(line, type=Score)
            except TimeoutError:
                await self._end()
                return Score(not_scored=f"the metric took more than {self._timeout_s:g} s")
            except (OSError, EOFError, ValueError) as error:
                return Score(not_scored=f"the metric's process {await self._end()}: {error}")
            except asyncio.CancelledError:
                await self._end()  # the reply of this call must not become that of the next
                raise

    async def close(self) -> None:
        """End the child; a later call starts another one."""
        async with self._lock:
            await self._end(gently=True)

    async def _started(self) -> Process:
        if self._child is not None and self._child.returncode is None:
            return self._child
        await self._end()
        await asyncio.to_thread(self._check_unchanged)
        child = self._child = await asyncio.create_subprocess_exec(
            *self._command(),
            stdin=PIPE,
            stdout=PIPE,
            limit=_LONGEST_LINE,
            start_new_session=True,
            env=environment_of_child(),
        )
        metric = self._settings.metric
        try:
            ready = msgspec.json.decode(
                await self._exchange(child, None, self._start_timeout_s), type=Ready
            )
        except TimeoutError as error:
            await self._end()
            raise LoadError(
                f'metric "{metric}" did not load within {self._start_timeout_s:g} s: look for work '
                f"at import time"
            ) from error
        except (OSError, EOFError, ValueError) as error:
            ended = await self._end()
            raise LoadError(f'metric "{metric}": its process {ended} while loading') from error
        if ready.error is not None:
            await self._end()
            raise LoadError(ready.error)
        return child

    def _check_unchanged(self) -> None:
        metric = self._settings.metric
        if hash_of_source(metric, self._settings.user_dir) != self._metric_hash:
            raise LoadError(
                f'metric "{metric}": its source has changed since control started, and its scores '
                "would mix with those of the old one. Restart control, or put the old source back"
            )

    def _command(self) -> Sequence[str]:
        settings = self._settings
        return (
            console_script(),
            "metric-runner",
            settings.route,
            f"--metric={settings.metric}",
            f"--user-dir={settings.user_dir}",
        )

    async def _exchange(self, child: Process, line: bytes | None, timeout_s: float) -> bytes:
        """Send a line, if there is one, and return the next line of the child."""
        assert child.stdin is not None  # both are pipes
        assert child.stdout is not None
        async with asyncio.timeout(timeout_s):
            if line is not None:
                child.stdin.write(line + b"\n")
                await child.stdin.drain()
            reply = await child.stdout.readline()
        if not reply.endswith(b"\n"):
            raise EOFError("no answer")
        return reply

    async def _end(self, *, gently: bool = False) -> str:
        """End the child and say how it ended."""
        child, self._child = self._child, None
        if child is None:
            return "was not there"
        if gently and child.stdin is not None:
            child.stdin.close()  # the child ends at the end of its input
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_S if gently else _DYING_S):
                await child.wait()
        ended_alone = child.returncode is not None
        kill_group(child.pid)
        code = await child.wait()
        return f"ended with code {code}" if ended_alone else "was killed"
