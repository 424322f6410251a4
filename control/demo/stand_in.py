"""The stand-in provider: a local OpenAI-compatible server in the place of a frontier model.

It has a frontier model's latency and price, and answers the demo's DSPy classifier (or a plain
chat) from a `World`. It is no model: everything it says is generated or recorded, and it says so.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import time
from collections.abc import AsyncIterator
from typing import Any

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

_TEXT = re.compile(r"\[\[ ## text ## \]\]\n(.*?)(?=\n\n(?:\[\[ ## |Respond with)|\Z)", re.DOTALL)


def create_app(world: World, *, latency_s: float, seed: int = 7) -> FastAPI:
    """Build the server. `POST /world {"policy": 2}` moves the labelling policy.

    ``latency_s``: median time to an answer.
    """
    app = FastAPI(title="limbeck demo: stand-in provider")
    state = {"policy": 1}
    rng = random.Random(seed)

    @app.get("/healthz")
    async def health() -> dict[str, bool]:
        return {"ok": True}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {
            "object": "list",
            "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "limbeck-demo"}],
        }

    @app.post("/world")
    async def move(request: Request) -> dict[str, int]:
        state["policy"] = int((await request.json())["policy"])
        return state

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        body = json.loads(await request.body())
        await asyncio.sleep(latency_s * min(math.exp(rng.gauss(0.0, _SPREAD)), _LONGEST))
        content = _say(world, body["messages"], policy=state["policy"])
        return _respond(body, content)

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


def _say(world: World, messages: list[dict[str, Any]], *, policy: int) -> str:
    last = next(m["content"] for m in reversed(messages) if m["role"] == "user")
    if not isinstance(last, str):
        last = "".join(part.get("text", "") for part in last)
    found = _TEXT.search(last)
    text = found.group(1).strip("\n") if found else last
    label = world.answer(text, policy=policy)
    if found is None:
        return label
    return (
        f"[[ ## reasoning ## ]]\nThe customer's words point to {label.replace('_', ' ')}.\n\n"
        f"[[ ## category ## ]]\n{label}\n\n[[ ## confidence ## ]]\n0.9\n\n[[ ## completed ## ]]"
    )


def _respond(body: dict[str, Any], content: str) -> Response:
    # Four characters a token is the usual rule of thumb; a stand-in has no tokenizer.
    tokens_in = sum(len(str(m["content"])) for m in body["messages"]) // 4
    tokens_out = max(1, len(content) // 4)
    usage = {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
    }
    head = {"id": f"chatcmpl-{time.time_ns()}", "created": int(time.time()), "model": body["model"]}
    if body.get("stream"):
        wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        return StreamingResponse(
            _stream(head, content, usage if wants_usage else None), media_type="text/event-stream"
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
        return (
            b"data: "
            + json.dumps({**head, "object": "chat.completion.chunk", **rest}).encode()
            + b"\n\n"
        )

    yield event(
        choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]
    )
    for word in content.split(" "):
        yield event(choices=[{"index": 0, "delta": {"content": word + " "}, "finish_reason": None}])
    yield event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
    if usage:
        yield event(choices=[], usage=usage)
    yield b"data: [DONE]\n\n"
