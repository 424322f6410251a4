"""Asks one side of a route a recorded request again, off the client's path.

A replay carries no inference id, so the program host answers it without recording it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from control.secrets import INTERNAL_KEY_ENV
from router.snapshot import Target, Upstream

#: what only makes sense for the live request
_LIVE_ONLY = ("stream_options", "store", "metadata")


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """How a replay ended. ``answer`` is None where it failed before an answer."""

    answer: str | None = None
    #: HTTP status; None: no response (connect, timeout)
    status: int | None = None
    #: what went wrong: connect, timeout, status, stale, unreadable
    failure: str | None = None
    #: what a server of ours says that it refuses for (``x-limbeck-error``)
    error: str | None = None
    ms: float
    tokens_in: int = 0
    tokens_out: int = 0


class Replayer:
    """Sends recorded requests to upstreams through one HTTP client."""

    def __init__(self, client: httpx.AsyncClient, environment: Mapping[str, str]) -> None:
        self._client = client
        self._environment = environment

    async def ask(
        self, upstream: Upstream, target: Target, request: str, *, timeout_s: float
    ) -> Reply:
        """Replay ``request`` (the recorded JSON body) on ``target``; never raises for a failure."""
        started = time.monotonic()
        try:
            body = replay_body(request, target.model)
            # httpx's own timeout is that of each read: a trickle would last for ever.
            async with asyncio.timeout(timeout_s):
                response = await self._client.post(
                    f"{upstream.base_url}/chat/completions",
                    content=body,
                    headers=self._headers(upstream, timeout_s),
                    timeout=timeout_s,
                )
        except (TimeoutError, httpx.TimeoutException):
            return Reply(failure="timeout", ms=_since(started))
        except httpx.HTTPError:
            return Reply(failure="connect", ms=_since(started))
        except (msgspec.DecodeError, RecursionError):
            return Reply(failure="unreadable", ms=_since(started))
        return _read(response, _since(started))

    def _headers(self, upstream: Upstream, timeout_s: float) -> dict[str, str]:
        headers = {"content-type": "application/json"}
        key = self._environment.get(
            INTERNAL_KEY_ENV if upstream.internal else upstream.api_key_env or "", ""
        ).strip()
        if key:
            headers["authorization"] = f"Bearer {key}"
        if upstream.internal:
            headers["x-limbeck-deadline-ms"] = str(int(timeout_s * 1000))
        return headers


def replay_body(request: str, model: str) -> bytes:
    """The recorded body for another model, answered in one piece."""
    body: dict[str, Any] = msgspec.json.decode(request, type=dict[str, Any])
    for key in _LIVE_ONLY:
        body.pop(key, None)
    body["model"] = model
    body["stream"] = False
    return msgspec.json.encode(body)


class _Message(msgspec.Struct):
    content: str | None = None
    tool_calls: msgspec.Raw | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


def _read(response: httpx.Response, ms: float) -> Reply:
    status = response.status_code
    if status != httpx.codes.OK:
        failure = "stale" if status == 412 else "status"
        error = response.headers.get("x-limbeck-error")
        return Reply(status=status, failure=failure, error=error, ms=ms)
    try:
        completion = msgspec.json.decode(response.content, type=_Completion)
    except (msgspec.MsgspecError, RecursionError):
        return Reply(status=status, failure="unreadable", ms=ms)
    usage = completion.usage or _Usage()
    answer = completion.choices[0].message.content if completion.choices else None
    return Reply(
        answer=answer,
        status=status,
        failure=None if answer else "unreadable",
        ms=ms,
        tokens_in=usage.prompt_tokens,
        tokens_out=usage.completion_tokens,
    )


def _since(started: float) -> float:
    return (time.monotonic() - started) * 1000
