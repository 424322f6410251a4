"""The front: a plain ASGI callable. Chat completions go to the core, all else to FastAPI."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from fastuuid import uuid7
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.core import Core
from gateway.errors import ClientLeft, Refusal
from gateway.exchange import MAX_BODY_BYTES, Headers, Request
from gateway.refuse import refuse

_PATH = "/v1/chat/completions"


class Front:
    """What uvicorn calls. The lifespan belongs to the FastAPI app."""

    def __init__(self, core: Core, app: ASGIApp) -> None:
        self._core = core
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != _PATH:
            await self._app(scope, receive, send)
        elif scope["method"] == "POST":
            await self._chat_completion(scope, receive, send)
        else:
            await _wrong_method(scope, receive, send)

    async def _chat_completion(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = scope["headers"]
        exchange = AsgiExchange(receive, send)
        try:
            body = await read_body(receive, MAX_BODY_BYTES)
        except ClientLeft:
            return
        except Refusal as refusal:
            request = Request(headers=headers, body=b"")
            await refuse(exchange, refusal, request, str(uuid7()), started=time.monotonic())
            return
        try:
            await self._core.answer(Request(headers=headers, body=body), exchange)
        finally:
            exchange.close()


async def _wrong_method(scope: Scope, receive: Receive, send: Send) -> None:
    refusal = Refusal(405, f"{_PATH} answers POST only.", code="method_not_allowed")
    request = Request(headers=scope["headers"], body=b"")
    exchange = AsgiExchange(receive, send)
    await refuse(exchange, refusal, request, str(uuid7()), started=time.monotonic())


class AsgiExchange:
    """An `Exchange` over ASGI's receive and send."""

    __slots__ = ("_receive", "_send", "_watcher")

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._watcher: asyncio.Task[None] | None = None

    async def start(self, status: int, headers: Headers) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def send(self, chunk: bytes, *, last: bool) -> None:
        await self._send({"type": "http.response.body", "body": chunk, "more_body": not last})

    def watch(self, left: Callable[[], None]) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch(left))

    async def _watch(self, left: Callable[[], None]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        left()

    def close(self) -> None:
        """The request is over: nobody watches any more."""
        if self._watcher is not None:
            self._watcher.cancel()


async def read_body(receive: Receive, limit: int) -> bytes:
    """Read a request's body; raise `Refusal` (413) above ``limit`` bytes, or `ClientLeft`."""
    message = await receive()
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientLeft("the client closed its connection before its request was complete")
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise Refusal(
                413, f"The request body is above {limit} bytes.", code="request_too_large"
            )
        if not message.get("more_body", False):
            return b"".join((*parts, part)) if parts else part
        parts.append(part)
        message = await receive()
