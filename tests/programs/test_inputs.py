"""Request to inputs: the rules, in their order, and every refusal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from programs.description import InputField
from programs.errors import BadInputs
from programs.inputs import inputs_of

ONE = {"text": InputField()}
TWO = {"text": InputField(), "customer": InputField()}
OPTIONAL = {"text": InputField(), "customer": InputField(required=False)}
CHAT = {"text": InputField(), "history": InputField(required=False, history=True)}


def user(*texts: str) -> dict[str, Any]:
    roles = ["user", "assistant"] * len(texts)
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    return {"messages": messages}


@pytest.mark.parametrize(
    ("body", "fields", "inputs"),
    [
        ({"inputs": {"text": "a"}, **user("b")}, ONE, {"text": "a"}),
        (user('{"text": "a", "customer": "b"}'), TWO, {"text": "a", "customer": "b"}),
        (user("hello"), ONE, {"text": "hello"}),
        (user("hello"), OPTIONAL, {"text": "hello"}),
        (user("hello"), {"q": InputField(required=False)}, {"q": "hello"}),
        (user('{"other": 1}'), ONE, {"text": '{"other": 1}'}),
        (user("{not json"), ONE, {"text": "{not json"}),
        (user("{}"), ONE, {"text": "{}"}),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 2}]},
            ONE,
            {"text": "aa"},
        ),
        (
            user("one", "two", "three"),
            CHAT,
            {"text": "three", "history": {"messages": [{"text": "one", "answer": "two"}]}},
        ),
    ],
)
def test_the_first_rule_that_matches_wins(
    body: dict[str, Any], fields: dict[str, InputField], inputs: dict[str, Any]
) -> None:
    assert inputs_of(body, fields) == inputs


@pytest.mark.parametrize(
    ("body", "fields", "words"),
    [
        (user("hello"), TWO, "this program has the inputs `text`, `customer`"),
        (user('{"text": "a"}'), TWO, "missing inputs `customer`"),
        ({"inputs": {"x": 1}}, ONE, "unknown inputs `x`, missing inputs `text`"),
        ({"inputs": "a"}, ONE, '"inputs" must be a JSON object'),
        (user("one", "two", "three"), ONE, "no dspy.History input"),
        (user("one", "two"), ONE, "the last message must be a user message"),
        ({"messages": [{"role": "user", "content": "a"}] * 2}, CHAT, "must alternate"),
        ({"messages": ["a"]}, ONE, r"messages\[0\] must be an object"),
        ({"messages": [{"role": "tool", "content": "a"}]}, ONE, "role 'tool'"),
        ({"messages": [{"role": "user", "content": None}]}, ONE, "content must be text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            ONE,
            "programs take text only",
        ),
        ({"messages": "a"}, ONE, '"messages" must be a list'),
        ({**user("a"), "tools": [{}]}, ONE, '"tools" is not for programs'),
        ({**user("a"), "n": 2}, ONE, '"n" must be 1'),
    ],
)
def test_what_does_not_fit_is_refused(
    body: dict[str, Any], fields: dict[str, InputField], words: str
) -> None:
    with pytest.raises(BadInputs, match=words):
        inputs_of(body, fields)


def test_a_system_message_follows_the_routes_rule() -> None:
    body = {"messages": [{"role": "system", "content": "be kind"}, *user("hi")["messages"]]}
    fields = {"text": InputField(), "style": InputField(required=False)}
    with pytest.raises(BadInputs, match="has its own instructions"):
        inputs_of(body, fields)
    assert inputs_of(body, fields, system="ignore") == {"text": "hi"}
    assert inputs_of(body, fields, system="field:style") == {"text": "hi", "style": "be kind"}


@given(st.text(min_size=1))
def test_any_text_reaches_the_only_input(text: str) -> None:
    assert inputs_of(user(text), ONE) in ({"text": text}, _decoded(text))


@given(st.dictionaries(st.sampled_from(["text", "customer"]), st.text(), min_size=2))
def test_inputs_and_their_json_are_the_same(inputs: dict[str, str]) -> None:
    assert inputs_of({"inputs": inputs}, TWO) == inputs_of(user(json.dumps(inputs)), TWO) == inputs


def _decoded(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None
