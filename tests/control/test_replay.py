from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from control.replay import Replayer
from router.snapshot import Target, Upstream
from tests.fakes.chat import chat_server

REQUEST = json.dumps(
    {
        "model": "route",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0,
    }
)
TARGET = Target(upstream="u", model="route@s1")
ENVIRONMENT = {"LIMBECK_INTERNAL_KEY": "inside", "TEACHER_KEY": "outside\n"}


@pytest.fixture
async def replayer() -> AsyncIterator[Replayer]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield Replayer(client, ENVIRONMENT)


async def test_the_recorded_request_is_asked_again_in_one_piece(replayer: Replayer) -> None:
    with chat_server(lambda text, model: (200, f"{model}: {text}")) as chat:
        upstream = Upstream(base_url=chat.url, api_key_env="LIMBECK_INTERNAL_KEY", internal=True)
        reply = await replayer.ask(upstream, TARGET, REQUEST, timeout_s=5)
    assert reply.answer == "route@s1: hello"
    assert (reply.status, reply.failure, reply.tokens_in, reply.tokens_out) == (200, None, 10, 5)
    body, headers = chat.requests[0]
    assert body["stream"] is False and "stream_options" not in body and body["temperature"] == 0
    assert headers["authorization"] == "Bearer inside"
    assert headers["x-limbeck-deadline-ms"] == "5000"
    # Without an id the program host does not record it as a request of a client.
    assert "x-limbeck-inference-id" not in headers


async def test_an_external_upstream_gets_its_own_key_and_nothing_of_ours(
    replayer: Replayer,
) -> None:
    with chat_server(lambda text, model: (200, "ok")) as chat:
        upstream = Upstream(base_url=chat.url, api_key_env="TEACHER_KEY")
        await replayer.ask(upstream, TARGET, REQUEST, timeout_s=5)
    headers = chat.requests[0][1]
    assert headers["authorization"] == "Bearer outside"
    assert not [name for name in headers if name.startswith("x-limbeck")]


@pytest.mark.parametrize(
    ("status", "content", "failure"),
    [(502, "unusable", "status"), (412, "stale", "stale"), (200, "", "unreadable")],
)
async def test_a_failure_is_a_value(
    replayer: Replayer, status: int, content: str, failure: str
) -> None:
    with chat_server(lambda text, model: (status, content)) as chat:
        reply = await replayer.ask(Upstream(base_url=chat.url), TARGET, REQUEST, timeout_s=5)
    assert (reply.failure, reply.status) == (failure, status)


async def test_what_is_nested_too_deeply_is_unreadable(replayer: Replayer) -> None:
    deep = '{"model": "m", "messages": ' + "[" * 5_000 + "]" * 5_000 + "}"
    with chat_server(lambda text, model: (200, "ok")) as chat:
        reply = await replayer.ask(Upstream(base_url=chat.url), TARGET, deep, timeout_s=5)
    assert (reply.failure, chat.requests) == ("unreadable", [])


async def test_nobody_listening_is_a_value_too(replayer: Replayer) -> None:
    with chat_server(lambda text, model: (200, "ok")) as chat:
        upstream = Upstream(base_url=chat.url)
    reply = await replayer.ask(upstream, TARGET, REQUEST, timeout_s=5)
    assert (reply.failure, reply.status, reply.answer) == ("connect", None, None)


async def test_an_answer_that_trickles_in_is_no_answer(replayer: Replayer) -> None:
    """Each byte comes in time, so only a limit on the whole can end it."""

    ended = asyncio.Event()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not gone.is_set():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()
        ended.set()

    gone, ended = asyncio.Event(), asyncio.Event()
    async with await asyncio.start_server(trickle, "127.0.0.1", 0) as server:
        upstream = Upstream(base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        reply = await replayer.ask(upstream, TARGET, REQUEST, timeout_s=0.3)
        gone.set()
        await asyncio.wait_for(ended.wait(), 10)
    assert (reply.failure, reply.answer) == ("timeout", None)
    assert 300 <= reply.ms < 5_000
