"""Outputs to an answer's content, and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from programs.answer import Message, message_of, prediction_of, wants_json
from programs.errors import UnusableAnswer

TEXTS = st.text(min_size=1).filter(str.strip)


@pytest.mark.parametrize(
    ("outputs", "as_json", "message"),
    [
        ({"answer": "hi"}, False, Message(content="hi")),
        ({"answer": "hi"}, True, Message(content='{"answer":"hi"}')),
        ({"answer": 7}, False, Message(content='{"answer":7}')),
        ({"a": "x", "b": None}, False, Message(content='{"a":"x","b":null}')),
        ({"reasoning": "so", "answer": "hi"}, False, Message(content="hi", reasoning="so")),
        ({"trajectory": {"t": 1}, "answer": "hi"}, False, Message(content="hi")),
    ],
)
def test_outputs_become_a_message(outputs: dict[str, Any], as_json: bool, message: Message) -> None:
    assert message_of(outputs, as_json=as_json) == message


@pytest.mark.parametrize("outputs", [{}, {"answer": ""}, {"answer": None}, {"reasoning": "so"}])
def test_nothing_to_show_is_unusable(outputs: dict[str, Any]) -> None:
    with pytest.raises(UnusableAnswer, match="outputs are empty"):
        message_of(outputs)


@pytest.mark.parametrize(
    ("content", "fields", "prediction"),
    [
        ("lost", ["category"], {"category": "lost"}),
        ("lost", ["reasoning", "category"], {"category": "lost"}),
        ('{"category": "lost"}', ["category"], {"category": "lost"}),
        ('{"a": 1}', ["answer"], {"answer": '{"a": 1}'}),
        ('{"a": 1}', ["a", "b"], {"a": 1}),
        ('{"a": 1}', [], {"a": 1}),
        ("text", [], {"answer": "text"}),
        ("[1]", [], {"answer": "[1]"}),
    ],
)
def test_content_becomes_a_prediction(
    content: str, fields: list[str], prediction: dict[str, Any]
) -> None:
    assert prediction_of(content, fields) == prediction


@given(TEXTS)
def test_one_text_survives_the_way_there_and_back(text: str) -> None:
    message = message_of({"answer": text})
    assert message.content == text
    found = prediction_of(message.content, ["answer"])
    assert found == {"answer": text} or "answer" in found  # a text that is our own JSON


@given(TEXTS, st.booleans())
def test_several_outputs_survive_the_way_there_and_back(text: str, flag: bool) -> None:
    outputs = {"category": text, "urgent": flag}
    assert prediction_of(message_of(outputs).content, ["category", "urgent"]) == outputs


def test_json_is_wanted_by_the_response_format() -> None:
    assert wants_json({"response_format": {"type": "json_object"}})
    assert wants_json({"response_format": {"type": "json_schema"}})
    assert not wants_json({"response_format": {"type": "text"}})
    assert not wants_json({})
