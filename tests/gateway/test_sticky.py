from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.body import Head, parse_head
from gateway.sticky import conversation_of, sticky_key

_CHAT = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "hello"},
]


def _head(**body: Any) -> Head:
    return parse_head(json.dumps({"model": "m", **body}).encode())


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"session_id": "a", "episode_id": "b"}, "a"),
        ({"conversation_id": "c"}, "c"),
        ({"episode_id": 7}, "7"),
        ({"session_id": ""}, None),
        ({"other": "x"}, None),
        ({"session_id": ["no text"]}, None),
        ("no object", None),
        (None, None),
    ],
)
def test_the_conversation_of_the_metadata(metadata: object, expected: str | None) -> None:
    assert conversation_of(None, _head(metadata=metadata)) == expected


def test_broken_utf8_is_the_upstreams_business() -> None:
    broken = parse_head(
        b'{"model": "m", "metadata": {"session_id": "\xff"},'
        b' "messages": [{"role": "\xff", "content": ""}]}'
    )
    assert conversation_of(None, broken) is None
    assert sticky_key(None, broken, trace_id="t") == "t"


def test_the_header_is_the_first_choice() -> None:
    assert conversation_of("header", _head(metadata={"session_id": "a"})) == "header"


def test_the_order_of_keys() -> None:
    body: dict[str, Any] = {
        "safety_identifier": "safety",
        "user": "user",
        "messages": _CHAT,
    }
    assert sticky_key("conversation", _head(**body), trace_id="t") == "conversation"
    for name in ("user", "safety_identifier"):
        assert sticky_key(None, _head(**body), trace_id="t") == body.pop(name)
    opening = sticky_key(None, _head(**body), trace_id="t")
    assert opening != "t"
    assert sticky_key(None, _head(), trace_id="t") == "t"
    assert sticky_key(None, _head(messages="no list"), trace_id="t") == "t"
    assert sticky_key(None, _head(messages=[]), trace_id="t") == "t"


def test_users_of_one_prompt_are_not_one() -> None:
    keys = {
        sticky_key(None, _head(prompt_cache_key="support-v3", **who), trace_id="t")
        for who in ({"user": "ada"}, {"user": "bob"}, {"messages": _CHAT})
    }
    assert len(keys) == 3


def test_the_key_of_a_chat_is_stable_over_its_turns() -> None:
    first = sticky_key(None, _head(messages=_CHAT), trace_id="1")
    later = [*_CHAT, {"role": "assistant", "content": "hi"}, {"role": "user", "content": "more"}]
    assert sticky_key(None, _head(messages=later), trace_id="2") == first
    other = [_CHAT[0], {"role": "user", "content": "something else"}]
    assert sticky_key(None, _head(messages=other), trace_id="3") != first
