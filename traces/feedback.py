"""Feedback bodies into rows. Pure.

``{metric, value, inference_id | episode_id, gold?, confirmed?, source?, tags?, comment?}``; the
names of TensorZero (``metric_name``, the metrics ``comment`` and ``demonstration``) work too.
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from traces.record import Feedback
from traces.rows import FeedbackRow
from traces.times import from_us


class FeedbackError(ValueError):
    """A feedback body that can't be used; the message says why."""


class _Body(msgspec.Struct, frozen=True):
    metric: str | None = None
    metric_name: str | None = None
    value: Any = None
    inference_id: str | None = None
    episode_id: str | None = None
    gold: Any = None
    confirmed: bool | None = None
    source: str | None = None
    tags: Any = None
    comment: str | None = None


_decode = msgspec.json.Decoder(_Body).decode


def feedback_row(feedback: Feedback, body: bytes) -> FeedbackRow:
    """Return the row of one feedback item. Raises `FeedbackError`."""
    try:
        item = _decode(body)
    except (ValueError, RecursionError) as error:
        raise FeedbackError(f"feedback: {error}") from error
    if bool(item.inference_id) == bool(item.episode_id):
        raise FeedbackError("feedback: exactly one of inference_id and episode_id is needed")
    name = item.metric or item.metric_name
    value, gold, comment = item.value, item.gold, item.comment
    if name == "demonstration" and gold is None:
        value, gold = None, value
    elif name == "comment" and comment is None and isinstance(value, str):
        value, comment = None, value
    if value is None and gold is None and item.confirmed is None and comment is None:
        raise FeedbackError("feedback: one of value, gold, confirmed and comment is needed")
    if value is not None and name is None:
        raise FeedbackError("feedback: a value needs the name of its metric in `metric`")
    return FeedbackRow(
        feedback_id=feedback.feedback_id,
        ts=from_us(feedback.ts_us),
        trace_id=_uuid(item.inference_id),
        conversation_id=item.episode_id or None,
        key_name=feedback.key_name,
        name=name,
        value=_json(value),
        gold=_json(gold),
        confirmed=item.confirmed,
        source=item.source,
        comment=comment,
        tags=_json(item.tags),
    )


def _uuid(text: str | None) -> str | None:
    if not text:
        return None
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise FeedbackError(f"feedback: inference_id {text[:80]!r} is no UUID") from error


def _json(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()
