"""The stand-in provider: a local OpenAI-compatible server in the place of a frontier model.

It has a frontier model's latency and price, and answers the demo's DSPy classifier (or a plain
chat) from a `World`. It is no model: everything it says is generated or recorded, and it says so.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
import time
from collections.abc import AsyncIterator
from typing import Any, Literal

import msgspec
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from control.demo.world import World

MODEL = "frontier-stand-in"
#: US dollars per million tokens, of the size of frontier list prices in 2026
PRICE_IN, PRICE_OUT = 2.5, 10.0
#: an answer takes a log-normal time; this is the spread of its logarithm
_SPREAD = 0.25
_LONGEST = 6.0

#: a word with the white space behind it: a stream puts the text together again, unchanged
_WORDS = re.compile(r"\S+\s*|\s+")
_TEXT = re.compile(r"\[\[ ## text ## \]\]\n(.*?)(?=\n\n(?:\[\[ ## |Respond with)|\Z)", re.DOTALL)


class _Part(msgspec.Struct):
    text: str = ""


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Chat(msgspec.Struct):
    """What the stand-in reads of a chat completion request; it ignores the rest."""

    model: str
    messages: list[_Message]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None


class _Move(msgspec.Struct):
    policy: Literal[1, 2]


def create_app(world: World, *, latency_s: float, seed: int = 7) -> FastAPI:
    """Build the server. `POST /world {"policy": 2}` moves the labelling policy.

    ``latency_s``: median time to an answer.
    """
    app = FastAPI(title="limbeck demo: stand-in provider")
    state = _Move(policy=1)
    rng = random.Random(seed)

    @app.get("/healthz")
    async def health() -> dict[str, bool]:
        return {"ok": True}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "limbeck-demo"}
        return {"object": "list", "data": [model]}

    @app.post("/world")
    async def move(request: Request) -> dict[str, int]:
        state.policy = msgspec.json.decode(await request.body(), type=_Move).policy
        return {"policy": state.policy}

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        asked = msgspec.json.decode(await request.body(), type=_Chat)
        last = next((m.text for m in reversed(asked.messages) if m.role == "user"), None)
        if last is None:
            raise msgspec.ValidationError("messages: none is of the user")
        await asyncio.sleep(latency_s * min(math.exp(rng.gauss(0.0, _SPREAD)), _LONGEST))
        return _respond(asked, _say(world, last, policy=state.policy))

    @app.exception_handler(UnicodeDecodeError)
    @app.exception_handler(msgspec.DecodeError)
    async def refuse(_: Request, error: Exception) -> Response:
        body = {
            "message": f"the request body can't be used: {error}",
            "type": "invalid_request_error", "param": None, "code": None,
        }  # fmt: skip
        return JSONResponse({"error": body}, status_code=400)

    return app


def serve(world: World, *, port: int, latency_s: float) -> None:
    """Run until SIGTERM, on loopback."""
    uvicorn.run(
        create_app(world, latency_s=latency_s),
        host="127.0.0.1",
        port=port,
        log_level="warning",
        access_log=False,
    )


def _say(world: World, last: str, *, policy: int) -> str:
    found = _TEXT.search(last)
    label = world.answer(found.group(1).strip("\n") if found else last, policy=policy)
    if found is None:
        return label
    return (
        f"[[ ## reasoning ## ]]\nThe customer's words point to {label.replace('_', ' ')}.\n\n"
        f"[[ ## category ## ]]\n{label}\n\n[[ ## confidence ## ]]\n0.9\n\n[[ ## completed ## ]]"
    )


def _respond(asked: _Chat, content: str) -> Response:
    # Four characters a token is the usual rule of thumb; a stand-in has no tokenizer.
    tokens_in = sum(len(message.text) for message in asked.messages) // 4
    tokens_out = max(1, len(content) // 4)
    usage = {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
    }
    head = {"id": f"chatcmpl-{time.time_ns()}", "created": int(time.time()), "model": asked.model}
    if asked.stream:
        wanted = asked.stream_options is not None and asked.stream_options.include_usage
        return StreamingResponse(
            _stream(head, content, usage if wanted else None), media_type="text/event-stream"
        )
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content},
        "finish_reason": "stop",
    }
    return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": usage})


async def _stream(
    head: dict[str, Any], content: str, usage: dict[str, int] | None
) -> AsyncIterator[bytes]:
    def event(**rest: Any) -> bytes:
        chunk = {**head, "object": "chat.completion.chunk", **rest}
        return b"data: " + msgspec.json.encode(chunk) + b"\n\n"

    def piece(finish: str | None = None, **delta: str) -> bytes:
        return event(choices=[{"index": 0, "delta": delta, "finish_reason": finish}])

    yield piece(role="assistant", content="")
    for word in _WORDS.findall(content):
        yield piece(content=word)
    yield piece("stop")
    if usage:
        yield event(choices=[], usage=usage)
    yield b"data: [DONE]\n\n"
