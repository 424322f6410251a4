"""Answers as OpenAI's chat completions: one JSON object, or server-sent events."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

from distiller.student_server.answer import Answer, Token
from distiller.student_server.request import ChatRequest

Shape = dict[str, Any]
_DONE = b"data: [DONE]\n\n"


def completion(request: ChatRequest, answer: Answer) -> Shape:
    """Return ``chat.completion``."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": answer.text, "refusal": None},
        "logprobs": _logprobs(answer.tokens) if request.logprobs else None,
        "finish_reason": "stop",
    }
    head = _head(request, "chat.completion")
    return {**head, "choices": [choice], "usage": _usage(answer)}


def events(request: ChatRequest, answer: Answer) -> Iterator[bytes]:
    """Yield the answer as a stream. It was complete before the first byte, so nothing can fail."""
    head = _head(request, "chat.completion.chunk")
    logprobs = _logprobs(answer.tokens) if request.logprobs else None
    content = {"role": "assistant", "content": answer.text}
    yield _event({**head, "choices": [_delta(content, logprobs=logprobs, finish=None)]})
    yield _event({**head, "choices": [_delta({}, logprobs=None, finish="stop")]})
    if request.include_usage:
        yield _event({**head, "choices": [], "usage": _usage(answer)})
    yield _DONE


def _head(request: ChatRequest, kind: str) -> Shape:
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": request.model,
    }


def _delta(delta: Shape, *, logprobs: Shape | None, finish: str | None) -> Shape:
    return {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}


def _usage(answer: Answer) -> Shape:
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
    }


def _logprobs(tokens: tuple[Token, ...]) -> Shape:
    content = [
        {
            "token": token.text,
            "logprob": token.logprob,
            "bytes": list(token.text.encode()),
            "top_logprobs": [],
        }
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def _event(data: Shape) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"
