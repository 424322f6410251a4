"""A client's connection, byte by byte: what comes before there is a request to answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from gateway.client_connection import MIN_BODY_RATE, ClientConnection
from gateway.exchange import MAX_BODY_BYTES
from gateway.front import read_body
from router.snapshot import AppKey
from tests.fakes.upstream import FakeUpstream
from tests.gateway.rig import Rig, WorkerProcess, keys, snapshot

BODY = json.dumps({"model": "triage", "messages": [{"role": "user", "content": "hi"}]}).encode()
KEY = b"authorization: Bearer sk-app\r\n"
UPGRADE = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"


@pytest.fixture(scope="module")
def worker(shared_rig: Rig, shared_upstream: FakeUpstream) -> Iterator[WorkerProcess]:
    shared_rig.publish(snapshot(shared_upstream.base_url, keys=keys(sk_app=AppKey(name="app"))))
    yield shared_rig.start()


def _head(*lines: bytes, length: int = len(BODY), key: bytes = KEY) -> bytes:
    first = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
    return first + key + b"".join(lines) + b"content-length: %d\r\n\r\n" % length


@contextlib.contextmanager
def _connected(worker: WorkerProcess) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", worker.settings.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def _answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read one answer that says how long it is."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65536)
        assert part, received
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536)
    return int(first.split(" ")[1]), headers, body


def _error(connection: socket.socket) -> tuple[int, str]:
    status, headers, body = _answer(connection)
    error = json.loads(body)["error"]
    assert error["request_id"] == headers["x-request-id"]
    return status, error["code"]


@pytest.mark.parametrize("cuts", [(), (20,), (-1,), (-len(BODY),), (150, -len(BODY), -5)])
def test_an_offered_upgrade_is_ignored(
    worker: WorkerProcess, shared_upstream: FakeUpstream, cuts: tuple[int, ...]
) -> None:
    request = _head(UPGRADE) + BODY
    asked = len(shared_upstream.received)
    with _connected(worker) as connection:
        at = 0
        for cut in (*(cut % len(request) for cut in cuts), len(request)):
            connection.sendall(request[at:cut])
            at = cut
            # The worker reads each part by itself: it answers another connection in between.
            with _connected(worker) as other:
                other.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
                assert _answer(other)[0] == 200
        assert _answer(connection)[0] == 200
        # The connection goes on, also with a request that offers nothing.
        connection.sendall(_head() + BODY)
        assert _answer(connection)[0] == 200
    assert len(shared_upstream.received) == asked + 2


def test_many_upgrades_in_one_read(worker: WorkerProcess) -> None:
    get = b"GET /healthz HTTP/1.1\r\nhost: x\r\n"
    with _connected(worker) as connection:
        connection.sendall((get + UPGRADE + b"\r\n") * 2000 + get + b"connection: close\r\n\r\n")
        received = b""
        while part := connection.recv(1 << 20):
            received += part
    assert received.count(b'{"ok":true}') == 2001


@pytest.mark.parametrize(
    "request_", [b"this is no HTTP\r\n\r\n", b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n"]
)
def test_broken_http_is_answered_in_openais_form(worker: WorkerProcess, request_: bytes) -> None:
    with _connected(worker) as connection:
        connection.sendall(request_)
        assert _error(connection) == (400, "invalid_http")
        assert connection.recv(1) == b""


def test_an_answer_under_way_goes_out_before_what_is_broken(worker: WorkerProcess) -> None:
    slow = {**json.loads(BODY), "metadata": {"fake": "delay=0.3"}}
    body = json.dumps(slow).encode()
    with _connected(worker) as connection:
        connection.sendall(_head(length=len(body)) + body + b"this is no HTTP\r\n\r\n")
        status, _, answer = _answer(connection)
        assert (status, "choices" in json.loads(answer)) == (200, True)
        assert connection.recv(1) == b""


def test_what_is_broken_behind_an_answer_is_not_waited_for(worker: WorkerProcess) -> None:
    """The second request breaks in its body: it would never be whole."""
    slow = {**json.loads(BODY), "metadata": {"fake": "delay=0.3"}}
    body = json.dumps(slow).encode()
    chunked = _head().replace(b"content-length: %d" % len(BODY), b"transfer-encoding: chunked")
    with _connected(worker) as connection:
        connection.sendall(_head(length=len(body)) + body + chunked + b"no length\r\n")
        assert _answer(connection)[0] == 200
        assert connection.recv(1) == b""


def test_a_head_that_never_ends_is_a_431(worker: WorkerProcess) -> None:
    line = 'limbeck_requests_total{reason="refused",route="",served_by="gateway",status="431"}'
    before = worker.metric(line)
    with _connected(worker) as connection:
        connection.sendall(_head()[:-2] + b"x-big: ")
        for _ in range(64):
            connection.sendall(b"x" * 16 * 1024)
        assert _error(connection) == (431, "headers_too_large")
        assert connection.recv(1) == b""
    assert worker.metric(line) == before + 1


def test_reads_that_begin_and_end_within_heads(worker: WorkerProcess) -> None:
    """Each head is small, whatever the reads are cut to."""
    one = b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-a: " + b"a" * 1000 + b"\r\n"
    with _connected(worker) as connection:
        connection.sendall(one[:500])
        with _connected(worker) as other:
            other.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert _answer(other)[0] == 200
        connection.sendall(one[500:] + b"\r\n" + (one + b"\r\n") * 100 + one)
        connection.sendall(b"connection: close\r\n\r\n")
        received = b""
        while part := connection.recv(1 << 20):
            received += part
    assert received.count(b'{"ok":true}') == 102


def test_a_wrong_key_is_refused_before_the_body_is_read(worker: WorkerProcess) -> None:
    with _connected(worker) as connection:
        connection.sendall(_head(length=1_000_000, key=b"authorization: Bearer wrong\r\n"))
        assert _error(connection) == (401, "invalid_api_key")
        # The body that comes nevertheless is dropped, and the next request is answered.
        connection.sendall(b"x" * 1_000_000 + _head() + BODY)
        assert _answer(connection)[0] == 200


def test_a_body_that_says_it_is_too_large_is_refused_at_once(worker: WorkerProcess) -> None:
    with _connected(worker) as connection:
        connection.sendall(_head(b"expect: 100-continue\r\n", length=MAX_BODY_BYTES + 1))
        assert _error(connection) == (413, "request_too_large")
    line = 'limbeck_requests_total{reason="refused",route="",served_by="gateway",status="413"}'
    assert worker.metric(line) == 1


@pytest.mark.parametrize("close", [b"HTTP/1.0", b"HTTP/1.1\r\nconnection: close"])
def test_a_refusal_arrives_though_its_body_is_still_on_its_way(
    worker: WorkerProcess, close: bytes
) -> None:
    """A close over unread bytes would reset the connection, and take the answer away."""
    head = _head(length=8_000_000, key=b"authorization: Bearer wrong\r\n")
    with _connected(worker) as connection:
        connection.sendall(head.replace(b"HTTP/1.1", close) + b"x" * 1000)
        # The worker has answered: it answers another connection afterwards.
        with _connected(worker) as other:
            other.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert _answer(other)[0] == 200
        for _ in range(7):
            connection.sendall(b"x" * 1_000_000)
        assert _error(connection) == (401, "invalid_api_key")
        assert connection.recv(1) == b""


def test_a_body_in_chunks_that_becomes_too_large_is_refused(worker: WorkerProcess) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + KEY
    with _connected(worker) as connection:
        connection.sendall(head + b"transfer-encoding: chunked\r\n\r\n")
        chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        for _ in range(33):
            connection.sendall(chunk)
        assert _error(connection) == (413, "request_too_large")


# Deadlines: uvicorn in this process, with a shorter one than a worker's


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/no":
        empty = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 401, "headers": empty})
        await send({"type": "http.response.body", "body": b""})
        return
    body = await read_body(receive, 1_000_000)
    length = (b"content-length", b"%d" % len(body))
    await asyncio.sleep(float(scope["query_string"] or b"0"))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def refused() -> list[int]:
    """The statuses that connections were turned away with."""
    return []


@pytest.fixture
async def server(refused: list[int]) -> AsyncIterator[int]:
    """Serve an echo, and give its port."""
    config = uvicorn.Config(
        _app,
        http=partial(ClientConnection, refused=refused.append),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_keep_alive=1,
        timeout_graceful_shutdown=1,
    )
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    yield listener.getsockname()[1]
    await server.shutdown(sockets=[listener])


async def _until_closed(port: int, data: bytes) -> tuple[float, bytes]:
    """Send and read on: after how many seconds the server closes, and what came."""
    started = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    received = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return time.monotonic() - started, received


@pytest.mark.parametrize(
    ("data", "retry"),
    [
        (b"POST / HTTP/1.1\r\nhos", b"true"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n", b"true"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhel", b"false"),
    ],
)
async def test_a_request_that_does_not_come_whole_is_a_408(
    server: int, refused: list[int], data: bytes, retry: bytes
) -> None:
    seconds, received = await _until_closed(server, data)
    assert 0.9 < seconds < 5
    assert received.startswith(b"HTTP/1.1 408 ")
    head, _, body = received.partition(b"\r\n\r\n")
    assert json.loads(body)["error"]["code"] == "request_timeout"
    assert b"x-should-retry: " + retry in head.split(b"\r\n")
    assert refused == [408]


async def _send_slowly(
    port: int, head: bytes, part: bytes, *, seconds: float
) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a head, and for a time a part of its body every 50 ms; what came back meanwhile."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    reading = asyncio.create_task(reader.read(65536))
    until = time.monotonic() + seconds
    while not reading.done() and time.monotonic() < until:
        writer.write(part)
        await asyncio.wait([reading], timeout=0.05)
    if reading.done():
        return reading.result(), reader, writer
    reading.cancel()
    await asyncio.wait([reading])
    return b"", reader, writer


async def test_a_slow_line_is_no_late_request(server: int) -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    part = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"
    assert 2 * MIN_BODY_RATE < 20 * 0x1000
    came, reader, writer = await _send_slowly(server, head, part, seconds=2.5)
    assert came == b""
    writer.write(b"0\r\n\r\n")
    assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_a_body_that_dribbles_is_a_408(server: int) -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n\r\n"
    came, _, writer = await _send_slowly(server, head, b"x", seconds=5)
    assert came.startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_a_refused_requests_time_is_not_that_of_the_next(server: int) -> None:
    """The first request is answered before its body came; the second one has all its time."""
    whole = b"POST /%s HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n"
    came, reader, writer = await _send_slowly(server, whole % b"no", b"", seconds=0.1)
    assert came.startswith(b"HTTP/1.1 401 ")
    reading = asyncio.create_task(reader.read(65536))
    await asyncio.wait([reading], timeout=0.7)
    writer.write(b"x" * 100 + whole % b"")
    await asyncio.wait([reading], timeout=0.7)
    assert not reading.done(), reading
    writer.write(b"y" * 100)
    assert (await asyncio.wait_for(reading, 5)).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_a_connection_without_a_request_is_closed(server: int) -> None:
    for data in (b"", b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi"):
        seconds, received = await _until_closed(server, data)
        assert 0.9 < seconds < 5
        assert received.endswith(b"hi" if data else b"")
        assert b"408" not in received


async def test_dribbling_does_not_help(server: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server)
    started = time.monotonic()
    writer.write(b"POST / HTTP/1.1\r\nhost: x\r\n")
    reading = asyncio.create_task(reader.read())
    while not reading.done():
        assert time.monotonic() - started < 5
        writer.write(b"x-a: b\r\n")
        await asyncio.wait([reading], timeout=0.05)
    assert reading.result().startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_a_long_answer_is_no_late_request(server: int) -> None:
    """Neither the request that is answered nor one that has begun behind it."""
    whole = b"POST /?%s HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n%s\r\nhi"
    reader, writer = await asyncio.open_connection("127.0.0.1", server)
    second = whole % (b"0", b"connection: close\r\n")
    writer.write(whole % (b"1.5", b"") + second[:10])
    assert (await reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200 ")
    writer.write(second[10:])
    assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 200 ")
    writer.close()
