"""The front: a plain ASGI callable. Chat completions go to the core, all else to FastAPI."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.client_connection import CONNECTION
from gateway.core import Core
from gateway.errors import ClientLeft, Refusal
from gateway.exchange import Headers
from gateway.refuse import body_too_large

_PATH = "/v1/chat/completions"


class Front:
    """What uvicorn calls. The lifespan belongs to the FastAPI app."""

    def __init__(self, core: Core, app: ASGIApp) -> None:
        self._core = core
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != _PATH:
            await self._app(scope, receive, send)
            return
        exchange = AsgiExchange(scope, receive, send)
        if scope["method"] != "POST":
            wrong = Refusal(405, f"{_PATH} answers POST only.", code="method_not_allowed")
            await self._core.refuse(wrong, scope["headers"], exchange)
            return
        try:
            await self._core.answer(scope["headers"], exchange)
        finally:
            exchange.close()


class AsgiExchange:
    """An `Exchange` over ASGI's receive and send, on a `ClientConnection`."""

    __slots__ = ("_receive", "_scope", "_send", "_watcher")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._watcher: asyncio.Task[None] | None = None

    async def read(self, limit: int) -> bytes:
        return await read_body(self._receive, limit)

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

    def abort(self) -> None:
        connection: asyncio.Transport = self._scope["state"][CONNECTION]
        connection.abort()

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
            raise body_too_large(limit)
        if not message.get("more_body", False):
            return b"".join((*parts, part)) if parts else part
        parts.append(part)
        message = await receive()
