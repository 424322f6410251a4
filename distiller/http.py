"""What trainer and student server share as HTTP servers: errors, the key, start and stop."""

from __future__ import annotations

import errno
import hmac
import os
import secrets
import signal
import socket
from collections.abc import Mapping
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from distiller.errors import DistillerError

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
}
_OPEN_PATHS = frozenset({"/healthz"})


class CannotServe(DistillerError):
    """The server can't start: no key, or the address is taken."""


class ApiError(DistillerError):
    """An error that the client gets, in OpenAI's shape."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.headers = headers

    def response(self) -> Response:
        error = {
            "message": str(self),
            "type": _TYPES.get(self.status, "server_error"),
            "param": self.param,
            "code": self.code,
            "request_id": f"req_{secrets.token_hex(12)}",
        }
        return JSONResponse({"error": error}, status_code=self.status, headers=self.headers)


def shape_errors(app: FastAPI, *, unexpected_headers: Mapping[str, str] | None = None) -> None:
    """Answer every error of ``app`` in OpenAI's shape."""

    async def ours(_request: Request, error: Any) -> Response:
        return ApiError.response(error)

    async def of_fastapi(_request: Request, error: Any) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return ApiError(400, f"{where}: {first['msg']}", param=where).response()

    async def of_starlette(request: Request, error: Any) -> Response:
        message = f"{request.method} {request.url.path}: {error.detail}"
        return ApiError(error.status_code, message).response()

    async def unexpected(_request: Request, error: Any) -> Response:
        return ApiError(
            500,
            f"{type(error).__name__}: {error}",
            code="internal_error",
            headers=unexpected_headers,
        ).response()

    app.add_exception_handler(ApiError, ours)
    app.add_exception_handler(RequestValidationError, of_fastapi)
    app.add_exception_handler(HTTPException, of_starlette)
    app.add_exception_handler(Exception, unexpected)


class RequireKey:
    """ASGI middleware: everything but /healthz needs ``Authorization: Bearer KEY``."""

    def __init__(self, app: ASGIApp, *, key: str) -> None:
        self._app = app
        self._expected = f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in _OPEN_PATHS:
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                message = "the key is missing or wrong: send 'Authorization: Bearer KEY'"
                refusal = ApiError(401, message, code="invalid_api_key")
                await refusal.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)


def read_key(variable: str) -> str:
    """Return the server's key from the environment. Raises `CannotServe` if it is not set."""
    key = os.environ.get(variable, "")
    if not key:
        raise CannotServe(f"the environment variable {variable} must hold the server's key")
    return key


def bind(host: str, port: int) -> socket.socket:
    """Return a bound socket. Raises `CannotServe` that names the address and the way out."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            message = f"{host}:{port} is in use by another process: stop it, or choose another port"
            raise CannotServe(message) from None
        raise CannotServe(f"can't listen on {host}:{port}: {error.strerror}") from None
    return listener


def serve_until_stopped(app: ASGIApp, listener: socket.socket, *, drain_s: int) -> None:
    """Serve on ``listener`` until SIGTERM or SIGINT, finish what is open, return."""
    # uvicorn raises the signal once more after its shutdown; here that must not kill the process.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=drain_s
    )
    uvicorn.Server(config).run(sockets=[listener])
