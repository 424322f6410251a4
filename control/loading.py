"""Whether the user's metrics and programs can be loaded: tried in children, as at the start.

The user's code never runs in the command that asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from control.config.problems import Problem
from control.config.values import Config, RouteConfig
from programs.child import console_script, environment_of_child, kill_group
from programs.errors import ProgramError
from programs.metric_client import metric_for
from programs.metric_hash import metric_hash

_DEADLINE_S = 30.0
_SAYS = "limbeck: "


async def loading_problems(config: Config, *, deadline_s: float = _DEADLINE_S) -> list[Problem]:
    """What can't be loaded, or not within ``deadline_s`` seconds each."""
    assert config.path is not None, "only a file names the user's code"
    return [
        Problem(file=config.path.name, key=f"routes.{route.name}.{key}", message=message)
        for route in config.routes.values()
        async for key, message in _tried(config.path, config.folder, route, deadline_s)
    ]


async def _tried(
    path: Path, folder: Path, route: RouteConfig, deadline_s: float
) -> AsyncIterator[tuple[str, str]]:
    """Key of the route and what is wrong with it."""
    if route.program is not None:
        message = await _program(route.program, path, route.name, deadline_s)
        if message is not None:
            yield "program", message
    if route.metric is not None:
        message = await _metric(str(route.metric), folder, route.name, deadline_s)
        if message is not None:
            yield "metric", message


async def _metric(spec: str, folder: Path, route: str, deadline_s: float) -> str | None:
    try:
        hashed = metric_hash(spec, folder)
        metric = metric_for(spec, metric_hash=hashed, route=route, user_dir=folder)
        try:
            async with asyncio.timeout(deadline_s):
                await metric.check()
        except TimeoutError:
            return _late("metric", spec, deadline_s)
        finally:
            await metric.close()
    except ProgramError as error:
        return str(error)
    return None


async def _program(spec: str, path: Path, route: str, deadline_s: float) -> str | None:
    child = await asyncio.create_subprocess_exec(
        console_script(), "program-host", route, "--side=teacher", "--check", f"--config={path}",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        env=environment_of_child(),
    )  # fmt: skip
    try:
        async with asyncio.timeout(deadline_s):
            _, said = await child.communicate()
    except TimeoutError:
        return _late("program", spec, deadline_s)
    finally:
        kill_group(child.pid)
        await child.wait()
    if child.returncode == 0:
        return None
    lines = said.decode(errors="replace").splitlines()
    ours = [line.removeprefix(_SAYS) for line in lines if line.startswith(_SAYS)]
    return " ".join(ours or lines[-1:]) or f"its process ended with code {child.returncode}"


def _late(what: str, name: str, deadline_s: float) -> str:
    return f'{what} "{name}" did not load within {deadline_s:g} s: look for work at import time'
