from __future__ import annotations

import json
from typing import Any

import pytest

from tests.traces.frames import TS_US, new_id
from traces.feedback import FeedbackError, feedback_row
from traces.record import Feedback
from traces.rows import FeedbackRow

ID = new_id()


def row(body: Any) -> FeedbackRow:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return feedback_row(Feedback(feedback_id=new_id(), ts_us=TS_US, key_name="app"), raw)


def test_gold_with_its_source() -> None:
    got = row(
        {
            "metric": "intent",
            "inference_id": ID.upper(),
            "gold": "card_arrival",
            "source": "crm",
            "tags": {"team": "a"},
            "comment": "from the ticket",
        }
    )
    assert (got.trace_id, got.conversation_id, got.key_name) == (ID, None, "app")
    assert (got.name, got.gold, got.value) == ("intent", '"card_arrival"', None)
    assert (got.source, got.tags, got.comment) == ("crm", '{"team":"a"}', "from the ticket")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"metric": "ok", "value": True}, {"name": "ok", "value": "true"}),
        ({"metric_name": "stars", "value": 4.5}, {"name": "stars", "value": "4.5"}),
        ({"confirmed": False}, {"confirmed": False, "name": None}),
        ({"gold": {"intent": "x"}}, {"gold": '{"intent":"x"}'}),
        (
            {"metric_name": "demonstration", "value": "right"},
            {"gold": '"right"', "value": None},
        ),
        ({"metric_name": "comment", "value": "nice"}, {"comment": "nice", "value": None}),
    ],
)
def test_forms_of_feedback(body: dict[str, Any], expected: dict[str, Any]) -> None:
    got = row({"inference_id": ID, **body})._asdict()
    assert {key: got[key] for key in expected} == expected


def test_an_episode_is_a_conversation() -> None:
    got = row({"metric": "ok", "value": 1, "episode_id": "e1"})
    assert (got.trace_id, got.conversation_id) == (None, "e1")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "feedback"),
        (b"[" * 100_000, "feedback"),
        ([], "feedback"),
        ({"gold": 1}, "exactly one"),
        ({"gold": 1, "inference_id": ID, "episode_id": "e"}, "exactly one"),
        ({"inference_id": ID}, "one of value, gold"),
        ({"inference_id": ID, "metric": "m"}, "one of value, gold"),
        ({"inference_id": ID, "value": 1}, "name of its metric"),
        ({"inference_id": "nope", "gold": 1}, "no UUID"),
        ({"inference_id": 7, "gold": 1}, "feedback"),
        ({"inference_id": ID, "confirmed": "yes"}, "feedback"),
    ],
)
def test_bad_feedback_says_why(body: Any, message: str) -> None:
    with pytest.raises(FeedbackError, match=message):
        row(body)
