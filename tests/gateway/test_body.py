from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.body import parse_head, splice_model
from gateway.errors import Refusal

#: keys and texts that a search for "model" could mistake
_TRICKY = [
    "model",
    '"model"',
    '\\"model\\":',
    "mod",
    "el",
    "{",
    "}",
    "\\",
    '"',
    "\\u006d",
    "",
    "ü\n",
]
_texts = st.sampled_from(_TRICKY) | st.text(max_size=12)
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=12,
)
_spellings = st.sampled_from(
    ['"model"', '"mod\\u0065l"', '"\\u006dodel"', '"\\u006D\\u006F\\u0064\\u0065\\u006C"']
)
_spaces = st.text(" \t\r\n", max_size=2)
_PADDING = ('"padding"', json.dumps("x" * 20_000))


@st.composite
def _bodies(draw: st.DrawFn) -> tuple[str, list[tuple[str, str]]]:
    """A JSON object with at least one outermost model, and its members as text."""
    others = st.tuples(_texts.filter(lambda key: key != "model").map(json.dumps), _values)
    members = [(key, draw(_dumped(value))) for key, value in draw(st.lists(others, max_size=4))]
    for spelling in draw(st.lists(_spellings, min_size=1, max_size=2)):
        at = draw(st.integers(0, len(members)))
        members.insert(at, (spelling, draw(_dumped(draw(_texts)))))
    if draw(st.booleans()):
        members.insert(draw(st.integers(0, len(members))), _PADDING)
    parts = []
    for key, value in members:
        a, b, c, d = (draw(_spaces) for _ in range(4))
        parts.append(f"{a}{key}{b}:{c}{value}{d}")
    return "{" + ",".join(parts) + "}", members


@st.composite
def _dumped(draw: st.DrawFn, value: Any) -> str:
    return json.dumps(value, ensure_ascii=draw(st.booleans()))


def _spliced(body: bytes, name: bytes) -> bytes:
    return splice_model(body, name, messages=parse_head(body).messages)


def _pairs(text: str | bytes) -> list[tuple[str, Any]]:
    """Return the outermost members in order, doubled ones too."""
    pairs: list[list[tuple[str, Any]]] = []

    def collect(found: list[tuple[str, Any]]) -> dict[str, Any]:
        pairs.append(found)
        return dict(found)

    json.loads(text, object_pairs_hook=collect)
    return pairs[-1]


@given(_bodies(), _texts)
def test_the_splice_replaces_every_outermost_model_and_nothing_else(
    body: tuple[str, list[tuple[str, str]]], name: str
) -> None:
    text, _ = body
    spliced = _spliced(text.encode(), json.dumps(name).encode())
    before, after = _pairs(text), _pairs(spliced)
    assert after == [(key, name if key == "model" else value) for key, value in before]


@given(_bodies())
def test_the_splice_keeps_every_other_byte(body: tuple[str, list[tuple[str, str]]]) -> None:
    text, members = body
    mark = '"\x00"'
    spliced = _spliced(text.encode(), mark.encode()).decode()
    for part in spliced.split(mark):
        assert part in text
    models = [value for key, value in members if json.loads(key) == "model"]
    removed = sum(len(value.encode()) - len(mark) for value in models)
    assert len(spliced.encode()) == len(text.encode()) - removed


def test_the_splice_of_a_big_body_is_exact() -> None:
    messages = [{"role": "user", "content": 'say "model": {"model": 1} ' * 5000}]
    body = json.dumps({"messages": messages, "model": "a", "metadata": {"model": "kept"}}).encode()
    spliced = json.loads(_spliced(body, b'"b"'))
    assert spliced == {"messages": messages, "model": "b", "metadata": {"model": "kept"}}


@given(_bodies())
def test_what_is_spliced_can_be_parsed(body: tuple[str, list[tuple[str, str]]]) -> None:
    text, _ = body
    assert parse_head(_spliced(text.encode(), b'"other"')).model == "other"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b"hello", "invalid_json", None),
        (b'{"model": "\xff"}', "invalid_json", None),
        (b"[]", "invalid_body", None),
        (b"{}", "invalid_body", "model"),
        (b'{"model": null}', "invalid_body", "model"),
        (b'{"model": "a", "model": 1}', "invalid_body", "model"),
        (b'{"model": "a", "stream": "yes"}', "invalid_body", "stream"),
        (b'{"model": "a", "user": 5}', "invalid_body", "user"),
        pytest.param(
            b'{"model": "a", "messages": %s%s}' % (b"[" * 100_000, b"]" * 100_000),
            "invalid_json",
            None,
            id="nested too deeply",
        ),
    ],
)
def test_what_is_no_chat_completion_is_refused(body: bytes, code: str, param: str | None) -> None:
    with pytest.raises(Refusal) as caught:
        parse_head(body)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, code, param)
