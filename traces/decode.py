"""Frames into rows: what is decided once, at capture, and never again. Pure.

The gateway records raw bytes; reading them is done here, off the request's path.
"""

from __future__ import annotations

from typing import Any

import msgspec

from traces.buckets import bucket_of, split_group
from traces.chat import (
    ChatRequest,
    Completion,
    conversation_of,
    count_of,
    json_text,
    read_completion,
    read_request,
    user_of,
    user_texts,
)
from traces.inputs import inputs_hash, user_hash
from traces.prices import Price, cost_usd, price_of
from traces.record import Gap, PredictorCall, RequestEnd, RequestStart
from traces.rows import CallRow, GapRow, OpenRequestRow, TraceRow
from traces.sse import assemble
from traces.times import from_us

_TEACHER = "teacher"


class CollectorContext(msgspec.Struct, frozen=True, kw_only=True):
    """What decoding needs to know; made by control from the configuration and its secrets."""

    #: key of the users' hashes
    hmac_key: bytes
    #: salt of the buckets; a change would move rows between exam and train
    bucket_salt: str
    #: upstream -> model -> price
    prices: dict[str, dict[str, Price]] = {}
    #: route -> what serving its students costs
    student_prices: dict[str, Price] = {}


class _Identity(msgspec.Struct, frozen=True):
    """Columns that say which requests belong together."""

    text: str | None
    inputs_hash: str
    user_hash: str | None
    conversation_id: str | None
    group_id: str
    bucket: int


def trace_row(
    end: RequestEnd, request: bytes, response: bytes, *, context: CollectorContext
) -> TraceRow:
    """Return the row of a request that has ended."""
    asked = read_request(request)
    who = _identity(asked, end.conversation_id, end.user, context)
    response_text, completion = _response(end, response)
    tokens_in, tokens_out = completion.tokens_in, completion.tokens_out
    price = _price(end, context)
    return TraceRow(
        trace_id=end.trace_id,
        ts=from_us(end.ts_us),
        route=end.route,
        model=end.model,
        key_name=end.key_name,
        program_version=end.program_version,
        metric_hash=end.metric_hash,
        config_hash=end.config_hash,
        snapshot_version=end.snapshot_version,
        state="done",
        served_by=end.served_by,
        student=end.student,
        stage=end.stage,
        weight=end.weight,
        reason=end.reason,
        propensity=end.propensity,
        audit=end.audit,
        audit_propensity=end.audit_propensity,
        fallback=end.fallback,
        fallback_student=end.fallback_student,
        student_ms=_ms(end.student_us),
        upstream=end.upstream,
        upstream_model=end.upstream_model,
        status=end.status,
        finish=end.finish,
        error_code=completion.error_code,
        stream=end.stream,
        latency_ms=_ms(end.latency_us),
        ttft_ms=_ms(end.ttft_us),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        cost_usd=cost_usd(price, tokens_in, tokens_out),
        user_hash=who.user_hash,
        conversation_id=who.conversation_id,
        group_id=who.group_id,
        bucket=who.bucket,
        inputs_hash=who.inputs_hash,
        no_shadow=end.no_shadow,
        retry=end.retry,
        tags=end.tags,
        worker=end.worker,
        text=who.text,
        answer=completion.answer,
        request=json_text(request),
        response=response_text,
    )


def open_row(start: RequestStart, request: bytes, *, context: CollectorContext) -> TraceRow:
    """Return the row of a request that is still open; its end frame replaces it."""
    unknown = RequestEnd(
        trace_id=start.trace_id,
        worker=start.worker,
        ts_us=start.ts_us,
        model=start.model,
        route=start.route,
        key_name=start.key_name,
        served_by=start.served_by,
        student=start.student,
        reason=start.reason,
        status=0,
        latency_us=0,
    )
    row = trace_row(unknown, request, b"", context=context)
    return row._replace(state="open", status=None, finish=None, latency_ms=None)


def open_request_row(start: RequestStart, *, writer: str) -> OpenRequestRow:
    return OpenRequestRow(
        trace_id=start.trace_id, writer=writer, deadline=from_us(start.deadline_us)
    )


def call_row(call: PredictorCall, *, context: CollectorContext) -> CallRow:
    """Return the row of one predictor call."""
    if call.side == _TEACHER:
        upstream, _, model = call.model.partition("/")
        price = price_of(context.prices, upstream, model)
    else:
        price = context.student_prices.get(call.route)
    tokens_in, tokens_out = count_of(call.tokens_in), count_of(call.tokens_out)
    return CallRow(
        trace_id=call.trace_id,
        call_id=call.call_id,
        seq=call.seq,
        ts=from_us(call.ts_us),
        route=call.route,
        program_version=call.program_version,
        side=call.side,
        predictor=call.predictor,
        model=call.model,
        inputs=_json(call.inputs),
        outputs=None if call.outputs is None else _json(call.outputs),
        error=call.error,
        messages=_json(call.messages),
        completion=call.completion,
        tools_ran=call.tools_ran,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        cost_usd=cost_usd(price, tokens_in, tokens_out),
        latency_ms=call.latency_us / 1e3,
    )


def gap_rows(gap: Gap) -> list[GapRow]:
    """Return one row for each reason that frames were dropped for."""
    return [
        GapRow(
            ts_from=from_us(gap.from_us),
            ts_to=from_us(gap.to_us),
            worker=gap.worker,
            reason=reason,
            n=n,
        )
        for reason, n in gap.dropped.items()
    ]


def _identity(
    asked: ChatRequest, conversation: str | None, user: str | None, context: CollectorContext
) -> _Identity:
    texts = user_texts(asked.messages)
    hashed = inputs_hash(texts)
    conversation = conversation or conversation_of(asked)
    user = user or user_of(asked)
    who = user_hash(user, context.hmac_key) if user else None
    group = split_group(conversation_id=conversation, user_hash=who, inputs_hash=hashed)
    return _Identity(
        text=texts[-1] if texts else None,
        inputs_hash=hashed,
        user_hash=who,
        conversation_id=conversation,
        group_id=group,
        bucket=bucket_of(group, salt=context.bucket_salt),
    )


def _response(end: RequestEnd, raw: bytes) -> tuple[str | None, Completion]:
    if not raw:
        return None, Completion()
    if end.content_type.startswith("text/event-stream"):
        raw = msgspec.json.encode(assemble(raw))
    return json_text(raw), read_completion(raw)


def _price(end: RequestEnd, context: CollectorContext) -> Price | None:
    if end.served_by == _TEACHER:
        return price_of(context.prices, end.upstream, end.upstream_model)
    return context.student_prices.get(end.route)


def _ms(us: int | None) -> float | None:
    return None if us is None else us / 1e3


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
