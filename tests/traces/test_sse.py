from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces.sse import assemble, events

BREAKS = ("\n", "\r\n", "\r")


def chunk(delta: dict[str, Any] | None = None, *, finish: str | None = None, index: int = 0) -> str:
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return json.dumps({"id": "c1", "created": 7, "model": "m", "choices": [choice]})


def stream(*data: str, line: str = "\n") -> bytes:
    return "".join(f"data: {item}{line}{line}" for item in data).encode()


def whole(raw: bytes) -> dict[str, Any]:
    value = json.loads(msgspec.json.encode(assemble(raw)))
    assert isinstance(value, dict)
    return value


@given(
    pieces=st.lists(st.text(max_size=20), max_size=10),
    line=st.sampled_from(BREAKS),
    comment=st.booleans(),
)
def test_pieces_of_text_are_joined_whatever_the_line_ends(
    pieces: list[str], line: str, comment: bool
) -> None:
    data = [chunk({"role": "assistant"})]
    data += [chunk({"content": piece}) for piece in pieces]
    data += [chunk(finish="stop"), "[DONE]"]
    raw = stream(*data, line=line)
    if comment:
        raw = f": keep-alive{line}{line}".encode() + raw
    value = whole(raw)
    (choice,) = value["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": "".join(pieces) if pieces else None,
    }
    assert choice["finish_reason"] == "stop"
    assert value["object"] == "chat.completion" and value["id"] == "c1"


@given(pieces=st.lists(st.text(max_size=20), max_size=8), cut=st.integers(0, 10_000))
def test_a_cut_anywhere_gives_a_beginning_of_the_answer(pieces: list[str], cut: int) -> None:
    raw = stream(*(chunk({"content": piece}) for piece in pieces), "[DONE]")
    value = whole(raw[:cut])
    content = value["choices"][0]["message"]["content"] if value["choices"] else ""
    assert "".join(pieces).startswith(content)


@given(
    arguments=st.lists(
        st.lists(st.text(max_size=10), min_size=1, max_size=4), min_size=1, max_size=3
    )
)
def test_tool_calls_are_joined_by_index(arguments: list[list[str]]) -> None:
    data = []
    for index, pieces in enumerate(arguments):
        function = {"name": f"f{index}", "arguments": ""}
        call = {"index": index, "id": f"id{index}", "type": "function", "function": function}
        data.append(chunk({"tool_calls": [call]}))
        data += [
            chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
            for piece in pieces
        ]
    value = whole(stream(*data, chunk(finish="tool_calls")))
    message = value["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {
            "id": f"id{index}",
            "type": "function",
            "function": {"name": f"f{index}", "arguments": "".join(pieces)},
        }
        for index, pieces in enumerate(arguments)
    ]


def test_usage_comes_from_the_last_chunk() -> None:
    usage = {"id": "c1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    value = whole(stream(chunk({"content": "a"}), json.dumps(usage), "[DONE]"))
    assert value["usage"] == {"prompt_tokens": 3, "completion_tokens": 4}


def test_an_error_in_the_middle_is_kept_beside_what_came() -> None:
    error = {"message": "gone", "type": "upstream_error", "code": "upstream_lost"}
    value = whole(stream(chunk({"content": "half"}), json.dumps({"error": error})))
    assert value["error"] == error
    assert value["choices"][0]["message"]["content"] == "half"


def test_several_choices_and_unreadable_events() -> None:
    value = whole(
        stream(
            chunk({"content": "b"}, index=1),
            "{not json",
            chunk({"content": "a", "refusal": "r", "reasoning_content": "t"}, index=0),
            '"text"',
        )
    )
    assert [choice["message"]["content"] for choice in value["choices"]] == ["a", "b"]
    assert value["choices"][0]["message"]["refusal"] == "r"
    assert value["choices"][0]["message"]["reasoning_content"] == "t"


@pytest.mark.parametrize("raw", [b"", b"\n\n", b": only a comment\n\n", b"garbage", b"data:"])
def test_nothing_gives_a_completion_without_choices(raw: bytes) -> None:
    assert whole(raw)["choices"] == []


def test_lines_of_one_event_are_joined() -> None:
    assert list(events(b"event: x\ndata: a\ndata:b\nid: 1\n\ndata: c")) == [b"a\nb", b"c"]


def test_odd_ids_do_not_cost_the_content() -> None:
    chunk = {"id": 7, "created": 1.5, "model": None, "choices": [{"delta": {"content": "hi"}}]}
    whole = assemble(b"data: " + json.dumps(chunk).encode() + b"\n\ndata: [DONE]\n\n")
    assert whole.choices[0].message.content == "hi"
    assert (whole.id, whole.created) == (7, 1.5)
