"""Payloads as gateway workers and program hosts write them, for tests."""

from __future__ import annotations

import json
from typing import Any

import fastuuid

from traces.decode import CollectorContext
from traces.prices import Price
from traces.record import Feedback, PredictorCall, RequestEnd, RequestStart, pack

TS_US = 1_700_000_000_000_000
CONTEXT = CollectorContext(
    hmac_key=b"key",
    bucket_salt="salt",
    prices={"openai": {"big": Price(input_per_m=2.0, output_per_m=8.0)}},
    student_prices={"tickets": Price(input_per_m=0.0, output_per_m=0.0)},
)


def new_id() -> str:
    return str(fastuuid.uuid7())


def chat(text: str, **more: Any) -> bytes:
    body = {"model": "tickets", "messages": [{"role": "user", "content": text}], **more}
    return json.dumps(body).encode()


def completion(content: str | None, *, tokens: tuple[int, int] | None = (100, 50)) -> bytes:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content},
        "finish_reason": "stop",
    }
    body: dict[str, Any] = {"id": "c1", "object": "chat.completion", "choices": [choice]}
    if tokens is not None:
        body["usage"] = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    return json.dumps(body).encode()


def end(
    request: bytes, response: bytes, *, trace_id: str | None = None, **header: Any
) -> tuple[RequestEnd, bytes, bytes]:
    values: dict[str, Any] = {
        "trace_id": trace_id or new_id(),
        "worker": "w1",
        "ts_us": TS_US,
        "model": "tickets",
        "route": "tickets",
        "upstream": "openai",
        "upstream_model": "big",
        "status": 200,
        "latency_us": 1500,
        "content_type": "application/json",
        "request_len": len(request),
    }
    return RequestEnd(**{**values, **header}), request, response


def end_payload(trace_id: str | None = None, *, text: str = "hello", **header: Any) -> bytes:
    return pack(*end(chat(text), completion("hi"), trace_id=trace_id, **header))


def start_payload(trace_id: str, *, deadline_us: int = TS_US + 10**9, text: str = "hello") -> bytes:
    request = chat(text)
    header = RequestStart(
        trace_id=trace_id,
        worker="w1",
        ts_us=TS_US,
        model="tickets",
        route="tickets",
        deadline_us=deadline_us,
        request_len=len(request),
    )
    return pack(header, request)


def feedback_payload(body: Any, *, ts_us: int = TS_US, feedback_id: str | None = None) -> bytes:
    raw = json.dumps(body).encode() if not isinstance(body, bytes) else body
    header = Feedback(feedback_id=feedback_id or new_id(), ts_us=ts_us, request_len=len(raw))
    return pack(header, raw)


def call(trace_id: str, **more: Any) -> PredictorCall:
    values: dict[str, Any] = {
        "trace_id": trace_id,
        "call_id": new_id(),
        "seq": 0,
        "ts_us": TS_US,
        "route": "tickets",
        "program_version": "p1",
        "side": "teacher",
        "predictor": "classify",
        "model": "openai/big",
        "inputs": {"ticket": "hello"},
        "outputs": {"intent": "greeting"},
        "messages": [{"role": "user", "content": "hello"}],
        "completion": "greeting",
        "tokens_in": 100,
        "tokens_out": 50,
        "latency_us": 900,
    }
    return PredictorCall(**{**values, **more})
