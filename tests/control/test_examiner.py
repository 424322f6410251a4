from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import httpx
import pytest

from control.candidates import Endpoint
from control.config.values import Price
from control.examiner import Examiner
from control.replay import Replayer
from distiller.dataset.values import Row, Source, Split
from distiller.exam import Answered, Failed
from router.snapshot import Target, Upstream
from tests.fakes.chat import chat_server

ROW = Row(
    trace_id="t1",
    predictor="answer",
    split=Split.EXAM,
    source=Source.GOLD,
    inputs={"text": "hi"},
    outputs={"answer": "a"},
    gold='"a"',
    request='{"model": "r", "messages": [{"role": "user", "content": "hi"}]}',
    answer="a",
)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


async def ask(client: httpx.AsyncClient, url: str) -> Answered | Failed:
    endpoint = Endpoint(
        upstream=Upstream(base_url=url, internal=True),
        target=Target(upstream="u", model="r@s1"),
        price=Price(input_per_m=1.0, output_per_m=2.0),
    )
    examiner = Examiner(
        Replayer(client, {}), measures={}, endpoint=lambda _route, _student: endpoint
    )
    return await examiner.ask("r", "s1", ROW)


async def test_an_answer_and_what_it_cost(client: httpx.AsyncClient) -> None:
    with chat_server(lambda text, model: (200, f"{model}: {text}")) as chat:
        found = await ask(client, chat.url)
    assert found == Answered(text="r@s1: hi", cost_usd=(10 * 1.0 + 5 * 2.0) / 1e6)


@pytest.mark.parametrize(
    ("status", "kind", "unreachable", "reason"),
    [
        (502, "unusable", False, "status 502 (unusable)"),
        (500, "error", False, "status 500 (error)"),
        (412, "stale", False, "stale 412 (stale)"),
        (404, "unknown_model", False, "status 404 (unknown_model)"),
        (400, None, False, "status 400"),
        (503, "unavailable", True, "status 503 (unavailable)"),
        (504, "error", True, "status 504 (error)"),
        (429, "busy", True, "status 429 (busy)"),
        (401, None, True, "status 401"),
        (500, None, True, "status 500"),
        (502, None, True, "status 502"),
    ],
)
async def test_whose_fault_a_refusal_is(
    client: httpx.AsyncClient, status: int, kind: str | None, unreachable: bool, reason: str
) -> None:
    with chat_server(lambda text, model: (status, "no")) as chat:
        chat.kind = kind
        found = await ask(client, chat.url)
    assert found == Failed(reason=reason, unreachable=unreachable)


async def test_an_empty_answer_is_the_candidates_fault(client: httpx.AsyncClient) -> None:
    with chat_server(lambda text, model: (200, "")) as chat:
        assert await ask(client, chat.url) == Failed(reason="unreadable 200")


async def test_nobody_there(client: httpx.AsyncClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = await ask(client, f"http://127.0.0.1:{port}/v1")
    assert found == Failed(reason="connect", unreachable=True)
