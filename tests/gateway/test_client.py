"""The upstream client against a real server: framing, reuse, faults, deadlines, back-pressure."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.errors import ClientLeft, ConnectFailed, UpstreamLost, UpstreamTimeout
from gateway.upstream.address import Address, parse_base_url
from gateway.upstream.call import HIGH_WATER_BYTES, Call
from gateway.upstream.client import IDLE_CONNECTION_S, Client
from gateway.wheel import Wheel
from tests.fakes.upstream import FakeUpstream
from tests.gateway.rig import free_port
from tests.polling import until_async


@asynccontextmanager
async def _client(at: str | Address, **more: Any) -> AsyncIterator[Client]:
    wheel = Wheel()
    turning = asyncio.create_task(wheel.run())
    address = parse_base_url(at) if isinstance(at, str) else at
    client = Client("up", address, "sk-upstream", wheel, **more)
    try:
        yield client
    finally:
        await client.close()
        turning.cancel()


def _body(fake: str = "", content: str = "hello", *, stream: bool = False) -> bytes:
    messages = [{"role": "user", "content": content}]
    body = {"model": "m", "messages": messages, "stream": stream, "metadata": {"fake": fake}}
    return json.dumps(body).encode()


def _ask(client: Client, fake: str = "", *, stream: bool = False, **more: Any) -> Call:
    options: dict[str, Any] = {"total_by": time.monotonic() + 10, **more}
    return client.ask(b"x-test: 1\r\n", _body(fake, stream=stream), **options)


async def _text(call: Call) -> str:
    await call.head()
    text: str = json.loads(await call.whole())["choices"][0]["message"]["content"]
    return text


@pytest.mark.parametrize("fake", ["", "chunked", "to_close", "close", "continue", "size=2000000"])
async def test_every_framing(upstream: FakeUpstream, fake: str) -> None:
    async with _client(upstream.base_url) as client:
        for _ in range(2):
            text = await _text(_ask(client, fake))
            assert text == ("x" * 2_000_000 if "size" in fake else "m: hello")
    received = upstream.received[0]
    assert received.path == "/v1/chat/completions"
    assert received.headers["authorization"] == "Bearer sk-upstream"
    assert received.headers["x-test"] == "1"
    assert "accept-encoding" not in received.headers


async def test_a_connection_is_used_again(upstream: FakeUpstream) -> None:
    async with _client(upstream.base_url) as client:
        for _ in range(3):
            await _text(_ask(client))
        assert client.idle_connections == 1
    assert upstream.connections == 1


async def test_a_fresh_call_has_a_connection_of_its_own(upstream: FakeUpstream) -> None:
    async with _client(upstream.base_url) as client:
        await _text(_ask(client))
        await _text(_ask(client, fresh=True))
    assert upstream.connections == 2


async def test_a_connection_that_says_close_is_not_kept(upstream: FakeUpstream) -> None:
    async with _client(upstream.base_url) as client:
        await _text(_ask(client, "close"))
        assert client.idle_connections == 0
        await _text(_ask(client))
    assert upstream.connections == 2


async def test_a_stale_connection_is_tried_once_more(upstream: FakeUpstream) -> None:
    async with _client(upstream.base_url) as client:
        await _text(_ask(client))
        assert await _text(_ask(client, "drop=reused")) == "m: hello"
    assert [received.connection for received in upstream.received] == [1, 1, 2]


async def test_a_connection_that_nobody_used_may_be_stale_too(upstream: FakeUpstream) -> None:
    async with _client(upstream.base_url) as client:
        _ask(client).fail(ClientLeft("before the connection was there"))
        await until_async(lambda: client.idle_connections == 1, what="the idle connection")
        with pytest.raises(UpstreamLost):
            await _text(_ask(client, "drop=request"))
    assert [received.connection for received in upstream.received] == [1, 2]


@pytest.mark.parametrize(
    "fake",
    [
        pytest.param("delay=1.2;drop=reused", id="after a while"),
        pytest.param("continue;drop=continue", id="after a byte"),
    ],
)
async def test_what_the_upstream_may_have_worked_on_is_not_sent_again(
    upstream: FakeUpstream, fake: str
) -> None:
    async with _client(upstream.base_url) as client:
        await _text(_ask(client))
        with pytest.raises(UpstreamLost):
            await _text(_ask(client, fake))
    assert [received.connection for received in upstream.received] == [1, 1]


async def test_trailers_are_no_headers_of_the_next_answer(upstream: FakeUpstream) -> None:
    async with _client(upstream.base_url) as client:
        first = _ask(client, "chunked;trailer=retry-after:7")
        assert await _text(first) == "m: hello"
        second = _ask(client)
        assert await _text(second) == "m: hello"
    assert upstream.connections == 1
    assert b"retry-after" not in {**first.headers, **second.headers}


@pytest.mark.parametrize("fake", ["surplus", "close;surplus", "chunked;surplus"])
async def test_what_follows_an_answer_does_not_spoil_it(upstream: FakeUpstream, fake: str) -> None:
    async with _client(upstream.base_url) as client:
        assert await _text(_ask(client, fake)) == "m: hello"
        assert await _text(_ask(client)) == "m: hello"
    assert upstream.connections == 2


@pytest.mark.parametrize("fake", ["drop=request", "drop=head", "drop=body", "garbage"])
async def test_a_broken_answer_is_lost_and_not_repeated(upstream: FakeUpstream, fake: str) -> None:
    async with _client(upstream.base_url) as client:
        with pytest.raises(UpstreamLost, match="up"):
            await _text(_ask(client, fake))
    assert len(upstream.received) == 1


async def test_nobody_listens() -> None:
    async with _client(f"http://127.0.0.1:{free_port()}/v1") as client:
        with pytest.raises(ConnectFailed, match="can't be reached"):
            await _text(_ask(client))


async def test_an_unknown_host() -> None:
    async with _client("http://nowhere.invalid/v1") as client:
        with pytest.raises(ConnectFailed, match=r"nowhere\.invalid"):
            await _text(_ask(client))


async def test_a_name_that_no_host_can_have() -> None:
    async with _client(Address(host="api..invalid", port=80, tls=False, path="/v1")) as client:
        with pytest.raises(ConnectFailed, match=r"api\.\.invalid"):
            await _text(_ask(client))


async def test_the_deadline_of_the_answer(upstream: FakeUpstream) -> None:
    async with _client(upstream.base_url) as client:
        started = time.monotonic()
        with pytest.raises(UpstreamTimeout, match="did not answer in time"):
            await _text(_ask(client, "hang", answer_by=started + 0.2))
        assert time.monotonic() - started >= 0.2
        assert client.open_connections == 0
        await until_async(lambda: upstream.cancelled == 1, what="the cancelled request")


async def test_the_deadline_of_a_stalled_body(upstream: FakeUpstream) -> None:
    async with _client(upstream.base_url) as client:
        started = time.monotonic()
        with pytest.raises(UpstreamTimeout, match="did not finish"):
            await _text(_ask(client, "stall", total_by=started + 0.3))


async def test_silence_in_the_middle_of_an_answer_has_its_bound(upstream: FakeUpstream) -> None:
    async with _client(upstream.base_url) as client:
        call = _ask(client, "stall", stream=True, idle_s=0.2)
        await call.head()
        with pytest.raises(UpstreamTimeout, match="was silent"):
            while await call.read():
                pass


async def test_a_stream_that_began_has_only_the_total_deadline(upstream: FakeUpstream) -> None:
    async with _client(upstream.base_url) as client:
        call = _ask(client, "gap=0.1;events=5", stream=True, answer_by=time.monotonic() + 0.2)
        await call.head()
        parts = [await call.read()]
        call.has_begun()
        while part := await call.read():
            parts.append(part)
        assert b"".join(parts).endswith(b"data: [DONE]\n\n")


async def test_a_call_that_is_given_up_closes_its_connection(upstream: FakeUpstream) -> None:
    async with _client(upstream.base_url) as client:
        call = _ask(client, "hang")
        await until_async(lambda: upstream.received, what="the request")
        call.fail(ClientLeft("gone"))
        with pytest.raises(ClientLeft):
            await call.head()
        await until_async(lambda: upstream.cancelled == 1, what="the cancelled request")
        assert await _text(_ask(client)) == "m: hello"


async def test_a_stream_that_is_let_go_has_little_time_to_end(upstream: FakeUpstream) -> None:
    async with _client(upstream.base_url) as client:
        for fake in ("linger", ""):
            call = _ask(client, fake, stream=True)
            await call.head()
            text = b""
            while not text.endswith(b"data: [DONE]\n\n"):
                text += await call.read()
            call.let_go()
        await until_async(lambda: upstream.cancelled == 1, what="the lingering one's end")
        assert client.open_connections == client.idle_connections == 1


async def test_a_slow_reader_holds_the_upstream_back(upstream: FakeUpstream) -> None:
    size = 40 * HIGH_WATER_BYTES
    async with _client(upstream.base_url) as client:
        call = _ask(client, f"size={size};events=400", stream=True)
        await call.head()
        await until_async(lambda: call._paused, what="the pause")
        held = sum(map(len, call._chunks))
        assert held < 4 * HIGH_WATER_BYTES
        total = 0
        while part := await call.read():
            total += len(part)
        assert total > size


async def test_the_number_of_connections_is_bounded(upstream: FakeUpstream) -> None:
    async with _client(upstream.base_url, max_connections=2) as client:
        calls = [_ask(client, "delay=0.05", fresh=number % 3 == 0) for number in range(9)]
        assert await asyncio.gather(*map(_text, calls)) == ["m: hello"] * 9
        assert client.open_connections <= 2


async def test_a_call_that_waits_for_a_connection_has_its_deadline(upstream: FakeUpstream) -> None:
    async with _client(upstream.base_url, max_connections=1) as client:
        first = _ask(client, "delay=0.6")
        with pytest.raises(UpstreamTimeout) as late:
            await _text(_ask(client, answer_by=time.monotonic() + 0.1))
        assert late.value.repeatable, "nobody has seen it"
        assert await _text(first) == "m: hello"
        assert await _text(_ask(client)) == "m: hello"


async def test_idle_connections_are_closed_in_time(upstream: FakeUpstream) -> None:
    async with _client(upstream.base_url) as client:
        await _text(_ask(client))
        client.on_due(time.monotonic() + IDLE_CONNECTION_S - 1)
        assert client.idle_connections == 1
        client.on_due(time.monotonic() + IDLE_CONNECTION_S + 1)
        assert client.idle_connections == 0
        await until_async(lambda: upstream.open_connections == 0, what="the closed connection")


async def test_a_retired_client_finishes_its_calls(upstream: FakeUpstream) -> None:
    async with _client(upstream.base_url) as client:
        await _text(_ask(client))
        call = _ask(client, "delay=0.1")
        client.retire()
        assert await _text(call) == "m: hello"
        assert client.idle_connections == 0


async def test_an_answer_has_a_largest_size(upstream: FakeUpstream) -> None:
    async with _client(upstream.base_url, max_answer_bytes=100_000) as client:
        with pytest.raises(UpstreamLost, match="an answer above 100000 bytes"):
            await _text(_ask(client, "size=3000000"))
