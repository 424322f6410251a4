"""Rows of the trace store that the collector writes, in the order of their tables' columns."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class TraceRow(NamedTuple):
    trace_id: str
    ts: datetime
    route: str
    model: str
    key_name: str
    program_version: str
    metric_hash: str
    config_hash: str
    snapshot_version: int
    state: str
    served_by: str
    student: str | None
    stage: str | None
    weight: float
    reason: str
    propensity: float
    audit: bool
    audit_propensity: float
    fallback: str | None
    fallback_student: str | None
    student_ms: float | None
    upstream: str
    upstream_model: str
    status: int | None
    finish: str | None
    error_code: str | None
    stream: bool
    latency_ms: float | None
    ttft_ms: float | None
    tokens_in: int | None
    tokens_out: int | None
    cost_usd: float | None
    user_hash: str | None
    conversation_id: str | None
    group_id: str
    bucket: int
    inputs_hash: str
    no_shadow: bool
    retry: bool
    tags: str | None
    worker: str
    text: str | None
    answer: str | None
    request: str | None
    response: str | None


class CallRow(NamedTuple):
    trace_id: str
    call_id: str
    seq: int
    ts: datetime
    route: str
    program_version: str
    side: str
    predictor: str
    model: str
    inputs: str
    outputs: str | None
    error: str | None
    messages: str
    completion: str | None
    tools_ran: bool
    tokens_in: int | None
    tokens_out: int | None
    cost_usd: float | None
    latency_ms: float


class FeedbackRow(NamedTuple):
    feedback_id: str
    ts: datetime
    trace_id: str | None
    conversation_id: str | None
    key_name: str
    name: str | None
    value: str | None
    gold: str | None
    confirmed: bool | None
    source: str | None
    comment: str | None
    tags: str | None


class GapRow(NamedTuple):
    ts_from: datetime
    ts_to: datetime
    worker: str
    reason: str
    n: int


class OpenRequestRow(NamedTuple):
    trace_id: str
    #: the spool writer whose end frame is awaited
    writer: str
    deadline: datetime


class DeadLetterRow(NamedTuple):
    ts: datetime
    segment: str
    raw: bytes
    error: str
