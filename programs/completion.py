"""The bytes of an answer in OpenAI's shape: JSON, server-sent events, errors. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from programs.answer import Message
from programs.errors import HostError
from programs.runs import Usage


def completion(*, id: str, created: int, model: str, message: Message, usage: Usage) -> bytes:
    """Return a chat completion."""
    body = {
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "message": _message(message), "finish_reason": "stop"}],
        "usage": _usage(usage),
    }
    return msgspec.json.encode(body)


def events(*, id: str, created: int, model: str, message: Message, usage: Usage | None) -> bytes:
    """Return the whole answer as a stream: one chunk, the end, and the usage if it is wanted."""
    head = {"id": id, "object": "chat.completion.chunk", "created": created, "model": model}
    choices: list[list[dict[str, Any]]] = [
        [{"index": 0, "delta": _message(message), "finish_reason": None}],
        [{"index": 0, "delta": {}, "finish_reason": "stop"}],
    ]
    chunks: list[dict[str, Any]] = [{**head, "choices": choice} for choice in choices]
    if usage is not None:
        chunks.append({**head, "choices": [], "usage": _usage(usage)})
    lines = [*map(msgspec.json.encode, chunks), b"[DONE]"]
    return b"".join(b"data: " + line + b"\n\n" for line in lines)


def error_body(error: HostError, *, request_id: str | None) -> bytes:
    """Return an error as OpenAI's clients expect it."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    body = {
        "message": str(error),
        "type": "rate_limit_error" if error.status == 429 else kind,
        "param": None,
        "code": error.kind,
        "request_id": request_id,
    }
    return msgspec.json.encode({"error": body})


def _message(message: Message) -> dict[str, Any]:
    shown: dict[str, Any] = {"role": "assistant", "content": message.content}
    if message.reasoning is not None:
        shown["reasoning_content"] = message.reasoning
    return shown


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.tokens_in,
        "completion_tokens": usage.tokens_out,
        "total_tokens": usage.total,
    }
