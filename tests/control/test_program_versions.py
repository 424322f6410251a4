"""What is known of each route's program, and that a host which is silent is named."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest
from fastapi import FastAPI, Response

from control.addresses import Addresses
from control.config.values import Address
from control.program_versions import ProgramVersions
from control.secrets import INTERNAL_KEY_ENV
from programs.description import InputField, OutputField, ProgramDescription
from tests.control.demo.served import served
from tests.control.stored import ROUTE, config_of, free_port
from traces.store import Store

DESCRIBED = ProgramDescription(
    program_version="v1", input_fields={"text": InputField()},
    output_fields={"answer": OutputField()}, predictors={}, body={},
)  # fmt: skip


def host(description: ProgramDescription) -> FastAPI:
    app = FastAPI()

    @app.get("/v1/program")
    async def program() -> Response:
        return Response(msgspec.json.encode(description), media_type="application/json")

    return app


def addresses(port: int) -> Addresses:
    address = Address(host="127.0.0.1", port=port)
    return Addresses(
        gateway=address, admin=address, student_server=address, trainer=address,
        hosts={f"{ROUTE}.teacher": address},
    )  # fmt: skip


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


async def test_a_silent_host_is_named_until_it_answers(
    tmp_path: Path, client: httpx.AsyncClient
) -> None:
    config = config_of(tmp_path, program="app:build", lm="up/m", teacher=None)
    found = {"port": free_port()}
    store = Store(tmp_path / "t.duckdb")
    try:
        versions = ProgramVersions(
            store, client, routes=config.routes, environment={INTERNAL_KEY_ENV: "inside"},
            addresses=lambda: addresses(found["port"]),
        )  # fmt: skip
        await versions.poll()
        assert versions.problems() == (), "it may be starting"
        for _ in range(3):
            await versions.poll()
        (problem,) = versions.problems()
        assert f"route {ROUTE}: the program host of its teacher does not answer" in problem
        with served(host(DESCRIBED)) as url:
            found["port"] = int(url.rpartition(":")[2])
            await versions.poll()
        assert (versions.problems(), versions.version(ROUTE)) == ((), "v1")
        await versions.poll()
        assert versions.version(ROUTE) == "v1", "a silent host changes nothing"
    finally:
        store.close()
