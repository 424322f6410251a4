"""`kill -9` of everything during traffic, a restart: every answered request is stored once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import openai
import pytest

from control.demo.processes import Cast
from control.demo.scene import write_scene
from tests.acceptance.installation import ROUTE, Installation, small_scene
from tests.polling import until_async

pytestmark = [pytest.mark.slow, pytest.mark.long]


async def test_kill_everything(tmp_path: Path) -> None:
    scene = small_scene(tmp_path / "demo", after_rows=100_000)
    scene.path.mkdir()
    write_scene(scene)
    answered: set[str] = set()
    with Cast(scene) as cast:
        limbeck = Installation(scene, cast)
        callers = asyncio.create_task(_call(limbeck, answered))
        await until_async(lambda: len(answered) >= 200, seconds=60, what="200 answers")
        _kill_all(limbeck)
        callers.cancel()
        await asyncio.gather(callers, return_exceptions=True)
    assert len(answered) >= 200
    with Cast(scene) as cast:
        limbeck = Installation(scene, cast)
        await until_async(
            lambda: _traces(limbeck) >= len(answered),
            seconds=60, what="all traces in the store",
        )  # fmt: skip
    stored = _stored(limbeck)
    assert answered <= set(stored)
    assert len(stored) == len(set(stored)), "a request is stored more than once"


async def _call(limbeck: Installation, answered: set[str]) -> None:
    """Ask until everything dies. An answer counts once it has arrived whole."""
    async with openai.AsyncOpenAI(
        base_url=limbeck.scene.base_url, api_key="any", max_retries=0, timeout=20
    ) as client:

        async def one(text: str) -> None:
            try:
                raw = await client.chat.completions.with_raw_response.create(
                    model=ROUTE, messages=[{"role": "user", "content": text}]
                )
            except openai.APIError:
                return
            answered.add(raw.headers["x-limbeck-inference-id"])

        questions = limbeck.world.questions(4_000)
        for at in range(0, len(questions), 16):
            await asyncio.gather(*(one(q.text) for q in questions[at : at + 16]))


def _kill_all(limbeck: Installation) -> None:
    """SIGKILL the supervisor first, so that it cannot restart anybody, then all its children."""
    states = json.loads((limbeck.layout.data / "processes.json").read_text())
    limbeck.cast.kill("limbeck")
    for state in states:
        if state["pid"]:
            try:
                os.kill(state["pid"], signal.SIGKILL)
            except ProcessLookupError:
                continue  # it follows its parent in death


def _traces(limbeck: Installation) -> int:
    routes = limbeck.status()["routes"]
    return int(routes[0]["traces"]) if routes else 0


def _stored(limbeck: Installation) -> list[str]:
    """Trace ids in DuckDB, read after limbeck has stopped: only one process may open the file."""
    import duckdb

    with duckdb.connect(str(limbeck.layout.database), read_only=True) as db:
        return [str(row[0]) for row in db.execute("SELECT trace_id FROM traces").fetchall()]
