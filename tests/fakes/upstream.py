"""A fake OpenAI server, in a thread, on a free port. Its faults are chosen by each request.

A fault is a text like ``status=500`` or ``delay=0.2;drop=body``, taken from the first of

- the header ``x-fake``,
- the body's ``metadata["fake:MODEL"]`` (for one model only) or ``metadata["fake"]``,
- what follows a ``+`` in the model's name: ``gpt-fake+status=500``.

| word | what happens |
|---|---|
| ``delay=S`` | waits before the answer |
| ``status=N`` | answers with an error; ``header=NAME:VALUE`` adds a header, ``plain``: no JSON |
| ``drop=request`` | closes the connection without an answer |
| ``drop=head``, ``drop=continue`` | closes it after status and headers; after ``continue`` |
| ``drop=body`` | closes it in the middle of the body; of a stream: after ``events`` / 2 events |
| ``drop=event`` | of a stream: closes it in the middle of the event after ``events`` / 2 |
| ``drop=reused`` | closes it without an answer if the connection served a request before |
| ``hang``, ``stall`` | never answers; never goes on after half of the answer |
| ``events=N``, ``gap=S`` | of a stream: number of events, pause between them |
| ``comments``, ``preamble`` | of a stream: comments in the place of its events, before them |
| ``no_done``, ``linger`` | a stream without ``[DONE]``; one that does not end after it |
| ``chunked``, ``to_close`` | framing of a JSON answer: chunks, or up to the end of the connection |
| ``trailer=NAME:VALUE`` | behind the chunks |
| ``surplus`` | bytes behind an answer that is complete |
| ``close`` | ``Connection: close`` |
| ``kind=TEXT`` | the content type of an error or a stream; empty: none |
| ``continue`` | a ``100 Continue`` before the answer |
| ``gzip`` | a body that nobody asked to be encoded |
| ``empty``, ``garbage`` | a body without a byte; an answer that is no HTTP |
| ``size=N`` | an answer of about N bytes |
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Received:
    """A request as it arrived."""

    path: str
    #: names in lower case
    headers: dict[str, str]
    body: bytes
    #: counts connections from 1
    connection: int
    #: time.monotonic()
    at: float

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.body)
        return value

    @property
    def model(self) -> str:
        model: str = self.json["model"]
        return model


def echo(request: dict[str, Any]) -> str:
    """Answer with the model's name and the last message."""
    messages = request.get("messages") or [{"content": ""}]
    return f"{request['model']}: {messages[-1]['content']}"


class _Drop(Exception):
    """Close the connection now."""


@dataclass
class _Peer:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    served: int = 0


@dataclass
class _Faults:
    words: dict[str, str] = field(default_factory=dict)

    def __contains__(self, word: str) -> bool:
        return word in self.words

    def text(self, word: str) -> str:
        return self.words.get(word, "")

    def number(self, word: str, default: float) -> float:
        return float(self.words.get(word, default))


class FakeUpstream:
    """``with FakeUpstream() as upstream: ... upstream.base_url``."""

    def __init__(
        self,
        answer: Callable[[dict[str, Any]], str] = echo,
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``answer`` makes the answer's text from the request's body."""
        self.received: list[Received] = []
        #: connections that clients closed before their answer was complete
        self.cancelled = 0
        self._answer = answer
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._connections = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fake-upstream", daemon=True)

    @property
    def base_url(self) -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}/v1"

    @property
    def connections(self) -> int:
        """How many connections were opened so far."""
        return self._connections

    @property
    def open_connections(self) -> int:
        return len(self._writers)

    def models(self) -> list[str]:
        """Return the models asked for, in order."""
        return [received.model for received in self.received]

    def __enter__(self) -> FakeUpstream:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the port and all connections: from now on nobody is there."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(10)

    def _run(self) -> None:
        self._stopping = asyncio.Event()
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, sock=self._listener, ssl=self._tls)
        await self._stopping.wait()
        server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        self._writers.add(writer)
        # asyncio sets it only for listeners that name their protocol; without it small writes wait.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = _Peer(reader, writer, self._connections)
        try:
            while (request := await self._read(peer)) is not None:
                self.received.append(request)
                await self._reply(peer, request)
                peer.served += 1
        except (_Drop, asyncio.CancelledError):
            pass  # on purpose, or because the whole server closes
        except (ConnectionError, asyncio.IncompleteReadError):
            self.cancelled += 1
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _read(self, peer: _Peer) -> Received | None:
        try:
            head = await peer.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = await peer.reader.readexactly(int(headers.get("content-length", "0")))
        return Received(
            path=first.split(" ")[1],
            headers=headers,
            body=body,
            connection=peer.number,
            at=time.monotonic(),
        )

    async def _reply(self, peer: _Peer, received: Received) -> None:
        try:
            request = received.json
        except ValueError:
            await self._error(peer, _Faults({"status": "400"}))
            return
        faults = _faults(received, request)
        await self._wait(peer, faults.number("delay", 0))
        drop = faults.text("drop")
        if drop == "request" or (drop == "reused" and peer.served):
            raise _Drop
        if "hang" in faults:
            await self._wait(peer, 3600)
        if "garbage" in faults:
            peer.writer.write(b"this is no HTTP\r\n\r\n")
            await peer.writer.drain()
            raise _Drop
        if "continue" in faults:
            peer.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if drop == "continue":
                await peer.writer.drain()
                raise _Drop
        if "status" in faults:
            await self._error(peer, faults)
        elif request.get("stream"):
            await self._stream(peer, request, faults)
        else:
            await self._whole(peer, request, faults)
        if "close" in faults or "to_close" in faults:
            raise _Drop

    async def _error(self, peer: _Peer, faults: _Faults) -> None:
        status = int(faults.number("status", 500))
        if "plain" in faults:
            kind, body = "text/html", b"<h1>Bad gateway</h1>"
        else:
            error = {"message": "a fault on purpose", "type": "fake", "param": None, "code": "fake"}
            kind, body = "application/json", json.dumps({"error": error}).encode()
        extra = faults.text("header")
        lines = [*_content_type(faults, kind), *([extra] if extra else [])]
        await self._send(peer, faults, status, lines, body)

    async def _whole(self, peer: _Peer, request: dict[str, Any], faults: _Faults) -> None:
        body = b"" if "empty" in faults else json.dumps(self._completion(request, faults)).encode()
        lines = ["content-type: application/json", "x-request-id: req_fake"]
        lines.append("openai-processing-ms: 7")
        if "gzip" in faults:
            body = gzip.compress(body)
            lines.append("content-encoding: gzip")
        await self._send(peer, faults, 200, lines, body)

    async def _send(
        self, peer: _Peer, faults: _Faults, status: int, lines: list[str], body: bytes
    ) -> None:
        if "chunked" in faults:
            lines = [*lines, "transfer-encoding: chunked"]
            half = len(body) // 2
            trailer = f"{faults.text('trailer')}\r\n" if "trailer" in faults else ""
            end = f"0\r\n{trailer}\r\n".encode()
            pieces = [_chunk(body[:half]), _chunk(body[half:]) + end]
        else:
            if "to_close" not in faults:
                lines = [*lines, f"content-length: {len(body)}"]
            pieces = [body[: len(body) // 2], body[len(body) // 2 :]]
        await self._head(peer, faults, status, lines)
        peer.writer.write(pieces[0])
        if faults.text("drop") == "body" or "stall" in faults:
            await peer.writer.drain()
            await self._wait(peer, 3600 if "stall" in faults else 0.05)
            raise _Drop
        peer.writer.write(pieces[1] + (b"surplus" if "surplus" in faults else b""))
        await peer.writer.drain()

    async def _head(self, peer: _Peer, faults: _Faults, status: int, lines: list[str]) -> None:
        if "close" in faults:
            lines = [*lines, "connection: close"]
        head = "\r\n".join([f"HTTP/1.1 {status} Fake", *lines])
        peer.writer.write(head.encode("latin-1") + b"\r\n\r\n")
        if faults.text("drop") == "head":
            await peer.writer.drain()
            raise _Drop

    async def _stream(self, peer: _Peer, request: dict[str, Any], faults: _Faults) -> None:
        kind = _content_type(faults, "text/event-stream; charset=utf-8")
        lines = [*kind, "transfer-encoding: chunked"]
        await self._head(peer, faults, 200, lines)
        events = int(faults.number("events", 4))
        async for number, event in self._events(request, faults, events):
            if number == events // 2 and (faults.text("drop") == "body" or "stall" in faults):
                await self._wait(peer, 3600 if "stall" in faults else 0.05)
                raise _Drop
            if number == events // 2 and faults.text("drop") == "event":
                peer.writer.write(_chunk(event[: len(event) // 2]))
                await peer.writer.drain()
                await self._wait(peer, 0.05)
                raise _Drop
            peer.writer.write(_chunk(event))
            await peer.writer.drain()
            await self._wait(peer, faults.number("gap", 0))
        if "linger" in faults:
            await self._wait(peer, 3600)
        peer.writer.write(b"0\r\n\r\n")
        await peer.writer.drain()

    async def _events(
        self, request: dict[str, Any], faults: _Faults, events: int
    ) -> AsyncIterator[tuple[int, bytes]]:
        if "empty" in faults:
            return
        if "preamble" in faults:
            yield -1, b": waiting\n\n"
        text = self._text(request, faults)
        step = max(1, -(-len(text) // events))
        for number in range(events):
            delta = {"role": "assistant", "content": text[number * step : (number + 1) * step]}
            last = number == events - 1
            choice = {"index": 0, "delta": delta, "finish_reason": "stop" if last else None}
            event = {
                "id": "chatcmpl-fake",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": request["model"],
                "choices": [choice],
            }
            line = b": waiting" if "comments" in faults else b"data: " + json.dumps(event).encode()
            yield number, line + b"\n\n"
        if "no_done" not in faults:
            yield events, b"data: [DONE]\n\n"

    def _completion(self, request: dict[str, Any], faults: _Faults) -> dict[str, Any]:
        text = self._text(request, faults)
        message = {"role": "assistant", "content": text}
        tokens_in = sum(len(str(m.get("content")).split()) for m in request.get("messages") or [])
        tokens_out = len(text.split())
        return {
            "id": "chatcmpl-fake",
            "object": "chat.completion",
            "created": 1,
            "model": request["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {
                "prompt_tokens": tokens_in,
                "completion_tokens": tokens_out,
                "total_tokens": tokens_in + tokens_out,
            },
        }

    def _text(self, request: dict[str, Any], faults: _Faults) -> str:
        size = int(faults.number("size", 0))
        return "x" * size if size else self._answer(request)

    async def _wait(self, peer: _Peer, seconds: float) -> None:
        """Wait, and notice a client that leaves meanwhile."""
        if seconds <= 0:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not peer.reader.at_eof():
                    data = await peer.reader.read(65536)
                    assert not data, "nobody pipelines requests to the fake"
                raise ConnectionResetError


def _faults(received: Received, request: dict[str, Any]) -> _Faults:
    metadata = request.get("metadata") or {}
    model = str(request.get("model"))
    text = (
        received.headers.get("x-fake")
        or metadata.get(f"fake:{model}")
        or metadata.get("fake")
        or model.partition("+")[2]
    )
    words = [word.partition("=") for word in text.split(";") if word]
    return _Faults({name: value for name, _, value in words})


def _content_type(faults: _Faults, usual: str) -> list[str]:
    kind = faults.text("kind") if "kind" in faults else usual
    return [f"content-type: {kind}"] if kind else []


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data) if data else b""
