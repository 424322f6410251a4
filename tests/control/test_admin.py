from __future__ import annotations

import logging
import time

import httpx
import pytest

from control.admin import PREFIX, admin_app
from control.override import read_override
from router.stages import Stage
from tests.control.stored import ROUTE, put_trace
from tests.control.world import World


async def ask(world: World, method: str, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(admin_app(world.parts.operations, key="k"))
    async with httpx.AsyncClient(transport=transport, base_url="http://control") as client:
        headers = {"authorization": "Bearer k"}
        return await client.request(method, f"{PREFIX}{path}", headers=headers)


async def test_what_control_could_not_do_is_json_and_in_its_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.parts.store.close()
    world.layout.database.unlink()
    world.layout.database.mkdir()
    with caplog.at_level(logging.ERROR, logger="limbeck.control"):
        answer = await ask(world, "GET", "/status")
    world.layout.database.rmdir()
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert error["type"] == "server_error"
    assert error["message"].startswith(f"GET {PREFIX}/status: DatabaseError: ")
    (record,) = [one for one in caplog.records if one.exc_info]
    assert "failed" in record.message


async def test_an_id_that_is_none_is_told_in_words(world: World) -> None:
    answer = await ask(world, "GET", "/traces?trace_id=zzz")
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert message.startswith('"zzz" is no id of a request: those are UUIDs; ')
    known = put_trace(world.parts.store, time.time())
    answer = await ask(world, "GET", f"/traces?trace_id={known.upper()}")
    assert [one["trace_id"] for one in answer.json()] == [known]


async def test_a_rollback_that_is_in_force_is_no_failure(world: World) -> None:
    world.to_stage(Stage.R5)
    world.layout.snapshot.unlink()
    world.layout.snapshot.mkdir()
    answer = await ask(world, "POST", f"/routes/{ROUTE}:rollback")
    world.layout.snapshot.rmdir()
    assert answer.status_code == 200
    done = answer.json()
    assert done["rollback"]["done"] and str(world.layout.snapshot) in done["problem"]
    assert read_override(world.layout.overrides, ROUTE) is not None


async def test_a_rollback_that_could_not_be_written_is_one(world: World) -> None:
    world.layout.overrides.parent.mkdir(exist_ok=True)
    if world.layout.overrides.exists():
        world.layout.overrides.rmdir()
    world.layout.overrides.write_text("no folder")
    answer = await ask(world, "POST", f"/routes/{ROUTE}:rollback")
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert error["type"] == "server_error" and "is NOT in force" in error["message"]
