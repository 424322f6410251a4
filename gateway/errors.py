"""What can go wrong in a gateway worker.

GatewayError
├── WorkerStartError     the worker can't start; the message says what to change
├── SnapshotError        a snapshot file that can't be used
├── ClientLeft           the client closed its connection before the answer was complete
├── Refusal              an answer of our own: OpenAI's error shape and a true status
└── UpstreamError        an upstream gave no usable answer
    ├── ConnectFailed    it was never reached
    ├── UpstreamLost     the connection broke, or what came was no HTTP
    └── UpstreamTimeout  it took too long
        └── ClientTimeout    for the client's own bound, shorter than the policy's
"""

from __future__ import annotations

from typing import ClassVar

import msgspec


class GatewayError(Exception):
    """Everything that a gateway worker raises on purpose."""


class WorkerStartError(GatewayError):
    """The worker can't start."""


class SnapshotError(GatewayError):
    """A snapshot that can't be used."""


class ClientLeft(GatewayError):
    """The client closed its connection before its answer was complete."""


class Refusal(GatewayError):
    """The request is answered by the gateway itself, with an error."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.code = code
        self.param = param
        #: the value of ``x-should-retry``; None: false for 4xx, absent for 5xx
        self.should_retry = should_retry

    def body(self, request_id: str) -> bytes:
        """The answer's body, in OpenAI's error shape."""
        return error_body(
            self.message, type=self.type, code=self.code, param=self.param, request_id=request_id
        )


class UpstreamError(GatewayError):
    """An upstream gave no usable answer."""

    #: what a trace calls it when the teacher answers instead of the student
    fallback: ClassVar[str]
    #: what a trace calls it when the caller gets the error
    finish: ClassVar[str] = "upstream_lost"
    status: ClassVar[int] = 502
    type: ClassVar[str] = "upstream_error"
    code: ClassVar[str]
    #: repeating the request elsewhere is safe, whatever the program does
    repeatable: bool = False

    def refusal(self) -> Refusal:
        """What the caller gets when nobody else can answer."""
        return Refusal(self.status, str(self), type=self.type, code=self.code)


class ConnectFailed(UpstreamError):
    """The upstream was never reached."""

    fallback = "connect"
    code = "upstream_unreachable"
    repeatable = True


class UpstreamLost(UpstreamError):
    """The connection broke before the answer was complete."""

    fallback = "lost"
    code = "upstream_lost"


class UpstreamTimeout(UpstreamError):
    """The upstream took too long."""

    fallback = "timeout"
    finish = "upstream_timeout"
    status = 504
    type = "upstream_timeout"
    code = "upstream_timeout"


class ClientTimeout(UpstreamTimeout):
    """The client gave less time than the policy does: this says nothing about the upstream."""

    fallback = "client_deadline"
    finish = "client_timeout"
    code = "client_timeout"

    def __init__(self, message: str, *, repeatable: bool = False) -> None:
        super().__init__(message)
        self.repeatable = repeatable


def error_body(
    message: str,
    *,
    type: str,
    code: str | None,
    param: str | None = None,
    request_id: str | None = None,
) -> bytes:
    """Return OpenAI's error JSON."""
    error = {
        "message": message,
        "type": type,
        "param": param,
        "code": code,
        "request_id": request_id,
    }
    return msgspec.json.encode({"error": error})
