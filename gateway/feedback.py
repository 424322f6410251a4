"""What ``POST /v1/feedback`` accepts. Joining it to a trace is the collector's work."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from gateway.errors import Refusal


class FeedbackItem(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One item: gold, a confirmation, a score or a comment, on an inference or an episode."""

    inference_id: str | None = None
    episode_id: str | None = None
    metric: str | None = None
    #: the same, as TensorZero's clients spell it
    metric_name: str | None = None
    value: Any = None
    #: the right output
    gold: Any = None
    #: the answer was right
    confirmed: bool | None = None
    #: who labelled; its coverage is configured
    source: str | None = None
    tags: dict[str, str] | None = None
    comment: str | None = None


_decode = msgspec.json.Decoder(FeedbackItem).decode


def check_feedback(body: bytes) -> FeedbackItem:
    """Read a feedback item; raise `Refusal` (400) that names the field and the repair."""
    try:
        item = _decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(f"The feedback is not valid: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(
            400, f"The feedback is not valid JSON: {error}.", code="invalid_json"
        ) from None
    if bool(item.inference_id) == bool(item.episode_id):
        raise _invalid("Send exactly one of inference_id and episode_id.", param="inference_id")
    if item.inference_id and not _is_uuid(item.inference_id):
        raise _invalid(
            f"inference_id {item.inference_id[:80]!r} is no inference id: send the value of the"
            " answer's header x-limbeck-inference-id, not the completion's id.",
            param="inference_id",
        )
    if item.metric is not None and item.metric_name is not None:
        raise _invalid("Send metric or metric_name, not both.", param="metric")
    metric = item.metric or item.metric_name
    if (metric is None) != (item.value is None):
        raise _invalid(
            "metric and value belong together: one is missing.",
            param="metric" if metric is None else "value",
        )
    if item.value is None and item.gold is None and item.confirmed is None and not item.comment:
        raise _invalid(
            "The feedback says nothing: send gold, confirmed, comment, or metric and value.",
            param="gold",
        )
    return item


def _invalid(message: str, *, param: str | None = None) -> Refusal:
    return Refusal(400, message, code="invalid_body", param=param)


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
