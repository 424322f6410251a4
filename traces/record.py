"""What a frame of the spool holds: small headers, and raw bodies that the collector decodes.

A payload is ``u32 length of the header | header (MessagePack) | request bytes | response bytes``.
Nothing here imports a heavy library: gateway workers and program hosts use this module.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

VERSION = 1
_LENGTH = struct.Struct("<I")


class RequestEnd(msgspec.Struct, frozen=True, kw_only=True, tag="end", omit_defaults=True):
    """One client request, finished, failed or cancelled. Self-contained."""

    v: int = VERSION
    #: UUID v7; the inference id that the client sees
    trace_id: str
    worker: str
    #: start, Unix microseconds
    ts_us: int
    #: the model that the client asked for
    model: str
    #: the route; empty for a model that passes through
    route: str = ""
    key_name: str = ""
    served_by: str = "teacher"
    student: str | None = None
    stage: str | None = None
    weight: float = 0.0
    #: default, rollout, holdout, pin, fallback, rollback, lease, breaker
    reason: str = "default"
    #: probability that the arm that served was chosen
    propensity: float = 1.0
    audit: bool = False
    audit_propensity: float = 0.0
    #: what the student did before the teacher answered: status, timeout, connect, lost, stale;
    #: client_deadline: it had no more time than the client gave it
    fallback: str | None = None
    #: the student that was asked first, when ``fallback`` is set
    fallback_student: str | None = None
    #: microseconds that the student took until its answer or failure; None: not asked
    student_us: int | None = None
    upstream: str = ""
    upstream_model: str = ""
    status: int
    #: stop, client_disconnect, upstream_lost, upstream_timeout, refused, internal_error;
    #: client_timeout: the client's own bound was shorter than the route's
    finish: str = "stop"
    latency_us: int
    ttft_us: int | None = None
    stream: bool = False
    conversation_id: str | None = None
    user: str | None = None
    no_shadow: bool = False
    #: the SDK's x-stainless-retry-count is above 0
    retry: bool = False
    snapshot_version: int = 0
    config_hash: str = ""
    program_version: str = ""
    metric_hash: str = ""
    tags: str | None = None
    #: length of the raw request; the response is the rest of the payload
    request_len: int = 0
    #: content type of the response
    content_type: str = ""


class RequestStart(msgspec.Struct, frozen=True, kw_only=True, tag="start", omit_defaults=True):
    """A request that is still open after one second. The body is the raw request."""

    v: int = VERSION
    trace_id: str
    worker: str
    ts_us: int
    model: str
    route: str = ""
    key_name: str = ""
    served_by: str = "teacher"
    student: str | None = None
    reason: str = "default"
    #: Unix microseconds; the request is given up after this
    deadline_us: int
    request_len: int = 0


class Feedback(msgspec.Struct, frozen=True, kw_only=True, tag="feedback", omit_defaults=True):
    """One feedback item. The body is the raw request, as the client sent it."""

    v: int = VERSION
    feedback_id: str
    ts_us: int
    key_name: str = ""
    request_len: int = 0


class PredictorCall(msgspec.Struct, frozen=True, kw_only=True, tag="call", omit_defaults=True):
    """One predictor call inside a program, written by a program host."""

    v: int = VERSION
    trace_id: str
    call_id: str
    #: order of start within the request
    seq: int
    ts_us: int
    route: str
    program_version: str
    #: teacher, or the student's id
    side: str
    predictor: str
    model: str
    inputs: dict[str, Any]
    outputs: dict[str, Any] | None = None
    error: str | None = None
    messages: list[Any] = []
    completion: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    latency_us: int = 0
    #: the tools that ran inside the call, if any
    tools_ran: bool = False


class Gap(msgspec.Struct, frozen=True, kw_only=True, tag="gap", omit_defaults=True):
    """Frames that the spool could not take, written when there is space again."""

    v: int = VERSION
    worker: str
    from_us: int
    to_us: int
    #: reason -> frames
    dropped: dict[str, int]


Header = RequestEnd | RequestStart | Feedback | PredictorCall | Gap

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Header).decode


def pack(header: Header, *bodies: bytes) -> bytes:
    """Join a header and its raw bodies into one payload."""
    head = _encode(header)
    return b"".join((_LENGTH.pack(len(head)), head, *bodies))


def unpack(payload: bytes) -> tuple[Header, bytes, bytes]:
    """Split a payload into its header, the raw request and the raw response.

    Raises `ValueError` (`msgspec.DecodeError`, `msgspec.ValidationError` are its subclasses) for a
    payload that is none of ours.
    """
    if len(payload) < _LENGTH.size:
        raise ValueError(f"a payload of {len(payload)} bytes has no header")
    (size,) = _LENGTH.unpack_from(payload)
    start = _LENGTH.size + size
    if start > len(payload):
        raise ValueError(f"the header claims {size} bytes, the payload has {len(payload)}")
    header = _decode(payload[_LENGTH.size : start])
    length = getattr(header, "request_len", 0)
    return header, payload[start : start + length], payload[start + length :]
