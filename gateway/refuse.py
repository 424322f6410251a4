"""Answers of the gateway itself, when a request is not let in."""

from __future__ import annotations

import time
from http import HTTPStatus

from fastuuid import uuid7

from gateway.errors import Refusal
from gateway.exchange import Exchange, Headers

_RETRY_AFTER_S = 1


def no_snapshot() -> Refusal:
    return Refusal(
        503,
        "This worker has no snapshot yet: start `limbeck control`, or check its log.",
        type="overloaded",
        code="no_snapshot",
    )


def spool_is_full() -> Refusal:
    return Refusal(
        503,
        "The spool is full, and the policy 'audit' serves nothing that can't be recorded.",
        type="overloaded",
        code="spool_full",
    )


def draining() -> Refusal:
    return Refusal(
        503,
        "The gateway stops, and could not wait any longer for the answer.",
        type="overloaded",
        code="draining",
        should_retry=True,
    )


def body_too_large(limit: int) -> Refusal:
    return Refusal(413, f"The request body is above {limit} bytes.", code="request_too_large")


def internal_error() -> Refusal:
    return Refusal(
        500,
        "The gateway failed; its log says why.",
        type="server_error",
        code="internal_error",
    )


def refusal_headers(
    refusal: Refusal, body: bytes, *, request_id: str, elapsed_s: float
) -> list[tuple[bytes, bytes]]:
    """Return the headers of a refusal."""
    return [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id.encode("latin-1")),
        (b"openai-processing-ms", b"%d" % (elapsed_s * 1000)),
        *retry_headers(refusal),
    ]


def retry_headers(refusal: Refusal) -> list[tuple[bytes, bytes]]:
    """Return what a refusal says about another attempt."""
    headers = []
    should_retry = refusal.should_retry
    if should_retry is None and refusal.status < 500:
        should_retry = False  # the same request would be refused again
    if should_retry is not None:
        headers.append((b"x-should-retry", b"true" if should_retry else b"false"))
    if refusal.status == 503:
        headers.append((b"retry-after", b"%d" % _RETRY_AFTER_S))
    return headers


def request_id_of(headers: Headers, fallback: str) -> str:
    """Return the client's id of a request, if it sent a printable one."""
    for name, value in headers:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            if 0 < len(text) <= 128 and text.isascii() and text.isprintable():
                return text
    return fallback


async def refuse(
    exchange: Exchange, refusal: Refusal, headers: Headers, trace_id: str, *, started: float
) -> None:
    """Send a refusal."""
    request_id = request_id_of(headers, trace_id)
    body = refusal.body(request_id)
    answer = refusal_headers(
        refusal, body, request_id=request_id, elapsed_s=time.monotonic() - started
    )
    answer.append((b"x-limbeck-inference-id", trace_id.encode()))
    await exchange.start(refusal.status, answer)
    await exchange.send(body, last=True)


def refusal_as_http(refusal: Refusal) -> bytes:
    """Return a refusal as the last answer of a connection whose request could not be read."""
    request_id = str(uuid7())
    body = refusal.body(request_id)
    headers = refusal_headers(refusal, body, request_id=request_id, elapsed_s=0.0)
    headers.append((b"connection", b"close"))
    status = HTTPStatus(refusal.status)
    first = b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode())
    lines = b"".join(b"%s: %s\r\n" % pair for pair in headers)
    return first + lines + b"\r\n" + body
