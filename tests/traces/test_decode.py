from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.traces.frames import CONTEXT, TS_US, call, chat, completion, end, new_id
from traces.buckets import bucket_of
from traces.decode import call_row, gap_rows, open_request_row, open_row, trace_row
from traces.inputs import inputs_hash, user_hash
from traces.record import Gap, RequestStart
from traces.rows import TraceRow
from traces.times import from_us


def row(request: bytes, response: bytes, **header: Any) -> TraceRow:
    header_, request, response = end(request, response, **header)
    return trace_row(header_, request, response, context=CONTEXT)


def test_a_request_becomes_a_row() -> None:
    got = row(chat("Where is my card?"), completion("card_arrival"), ttft_us=900, student_us=250)
    assert got.state == "done" and got.status == 200
    assert (got.text, got.answer) == ("Where is my card?", "card_arrival")
    assert (got.tokens_in, got.tokens_out) == (100, 50)
    assert got.cost_usd == pytest.approx((100 * 2 + 50 * 8) / 1e6)
    assert (got.latency_ms, got.ttft_ms, got.student_ms) == (1.5, 0.9, 0.25)
    assert got.ts == from_us(TS_US)
    assert got.request is not None and json.loads(got.request)["model"] == "tickets"
    assert got.response is not None and json.loads(got.response)["id"] == "c1"
    assert got.inputs_hash == inputs_hash("Where is my card?")
    assert got.group_id == f"inputs:{got.inputs_hash}"
    assert got.bucket == bucket_of(got.group_id, salt="salt")
    assert got.error_code is None and got.user_hash is None


@dataclass(frozen=True)
class Belongs:
    body: dict[str, Any]
    header: dict[str, Any]
    group: str
    conversation: str | None
    user: str | None


ANN = user_hash("ann", b"key")


@pytest.mark.parametrize(
    "case",
    [
        Belongs({}, {"conversation_id": "c1", "user": "ann"}, "conversation:c1", "c1", ANN),
        Belongs({"metadata": {"session_id": "s"}}, {}, "conversation:s", "s", None),
        Belongs({"metadata": {"episode_id": "e"}}, {}, "conversation:e", "e", None),
        Belongs(
            {"metadata": {"session_id": "s"}, "user": "bob"},
            {"conversation_id": "c1", "user": "ann"},
            "conversation:c1",
            "c1",
            ANN,
        ),
        Belongs({"user": "ann"}, {}, f"user:{ANN}", None, ANN),
        Belongs({"safety_identifier": "ann"}, {}, f"user:{ANN}", None, ANN),
        Belongs({"user": 5, "metadata": "odd"}, {}, f"inputs:{inputs_hash('hello')}", None, None),
    ],
)
def test_who_belongs_together(case: Belongs) -> None:
    got = row(chat("hello", **case.body), completion("x"), **case.header)
    assert (got.group_id, got.conversation_id, got.user_hash) == (
        case.group,
        case.conversation,
        case.user,
    )


def test_the_inputs_are_the_users_words_of_the_whole_conversation() -> None:
    def ask(system: str, *turns: str) -> TraceRow:
        messages = [{"role": "system", "content": system}]
        for turn in turns:
            messages += [{"role": "user", "content": turn}, {"role": "assistant", "content": "ok"}]
        body = json.dumps({"messages": messages[:-1]}).encode()
        return row(body, completion("x"))

    assert ask("Today is Monday", "yes").inputs_hash == ask("Tuesday", "Yes ").inputs_hash
    assert ask("s", "refund?", "yes").inputs_hash != ask("s", "cancel?", "yes").inputs_hash
    assert ask("s", "refund?", "yes").text == "yes"


def test_parts_of_a_message_are_its_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]
    body = json.dumps({"messages": [{"role": "user", "content": parts}]}).encode()
    assert row(body, completion("x")).text == "ab"


def test_a_programs_inputs_may_be_json() -> None:
    got = row(chat('{"b": 1, "a": "X"}'), completion("x"))
    assert got.text == '{"b": 1, "a": "X"}'
    assert got.inputs_hash == inputs_hash({"a": "x", "b": 1})


def test_a_stream_is_put_together() -> None:
    pieces = [
        {"id": "c1", "choices": [{"index": 0, "delta": {"content": text}}]} for text in ("ca", "rd")
    ]
    usage = {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 2}}
    raw = "".join(f"data: {json.dumps(item)}\n\n" for item in [*pieces, usage]) + "data: [DONE]\n\n"
    got = row(chat("x"), raw.encode(), content_type="text/event-stream; charset=utf-8", stream=True)
    assert (got.answer, got.tokens_in, got.tokens_out) == ("card", 10, 2)
    assert got.response is not None
    assert json.loads(got.response)["choices"][0]["message"]["content"] == "card"


def test_an_error_in_mid_stream_has_its_code() -> None:
    raw = b'data: {"error": {"message": "m", "code": "upstream_lost"}}\n\n'
    got = row(chat("x"), raw, content_type="text/event-stream", stream=True, finish="upstream_lost")
    assert got.error_code == "upstream_lost"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"error": {"message": "m", "type": "t", "code": "model_not_found"}}', "model_not_found"),
        (b'{"error": {"message": "m", "type": "rate_limit", "code": null}}', "rate_limit"),
        (b'{"error": {}, "choices": 3}', "error"),
        (b'{"error": "plain"}', "plain"),
        (b"[1]", None),
        (b"<html>Bad gateway</html>", None),
        (b"", None),
    ],
)
def test_error_codes(body: bytes, code: str | None) -> None:
    got = row(chat("x"), body, status=502)
    assert got.error_code == code
    assert got.answer is None and got.cost_usd is None


def test_bodies_that_are_no_json_are_kept_as_text() -> None:
    got = row(b"\xffhello", b"<html>")
    assert got.request == '"\ufffdhello"' and got.response == '"<html>"'
    assert got.text is None


def test_a_body_nested_too_deeply_still_has_a_row() -> None:
    deep = b"[" * 100_000
    got = row(deep, deep)
    assert got.state == "done" and got.answer is None


@pytest.mark.parametrize(
    ("header", "tokens", "cost"),
    [
        ({"upstream_model": "unknown"}, (1, 1), None),
        ({"upstream": "unknown"}, (1, 1), None),
        ({}, None, None),
        ({}, (0, 0), 0.0),
        ({"served_by": "student", "upstream": "students"}, (5, 5), 0.0),
        ({"served_by": "student", "route": "other"}, (5, 5), None),
    ],
)
def test_an_unknown_price_is_unknown(
    header: dict[str, Any], tokens: tuple[int, int] | None, cost: float | None
) -> None:
    assert row(chat("x"), completion("y", tokens=tokens), **header).cost_usd == cost


@pytest.mark.parametrize("count", [-1, True, 1.5, "7", 2**70])
def test_odd_token_counts_are_unknown(count: Any) -> None:
    body = json.loads(completion("answer"))
    body["usage"]["prompt_tokens"] = count
    got = row(chat("x"), json.dumps(body).encode())
    assert got.tokens_in is None and got.tokens_out == 50 and got.answer == "answer"


def test_an_answer_of_parts_or_of_a_tool_call() -> None:
    assert row(chat("x"), completion(None)).answer is None
    parts = json.loads(completion("x"))
    parts["choices"][0]["message"]["content"] = [{"type": "text", "text": "a"}]
    assert row(chat("x"), json.dumps(parts).encode()).answer == "a"


@given(request=st.binary(max_size=200), response=st.binary(max_size=200), stream=st.booleans())
def test_any_bytes_become_a_row_with_valid_json(
    request: bytes, response: bytes, stream: bool
) -> None:
    kind = "text/event-stream" if stream else "application/json"
    got = row(request, response, content_type=kind)
    for text in (got.request, got.response):
        if text is not None:
            msgspec.json.decode(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(messages=json_values, user=json_values, choices=json_values, usage=json_values)
def test_any_json_becomes_a_row(messages: Any, user: Any, choices: Any, usage: Any) -> None:
    request = json.dumps({"messages": messages, "user": user, "metadata": user}).encode()
    response = json.dumps({"choices": choices, "usage": usage, "error": user}).encode()
    assert row(request, response).state == "done"


def test_an_open_request_has_a_row_of_its_own() -> None:
    request = chat("hello", user="ann")
    start = RequestStart(
        trace_id=new_id(), worker="w1", ts_us=TS_US, model="tickets", deadline_us=TS_US + 5_000_000
    )
    got = open_row(start, request, context=CONTEXT)
    assert (got.state, got.text, got.status, got.response) == ("open", "hello", None, None)
    assert got.group_id == f"user:{ANN}"
    waiting = open_request_row(start, writer="spool-1")
    assert (waiting.writer, waiting.deadline) == ("spool-1", from_us(TS_US + 5_000_000))


def test_a_call_has_its_cost_by_side() -> None:
    trace_id = new_id()
    got = call_row(call(trace_id), context=CONTEXT)
    assert got.cost_usd == pytest.approx((100 * 2 + 50 * 8) / 1e6)
    assert json.loads(got.inputs) == {"ticket": "hello"}
    assert got.outputs is not None and json.loads(got.outputs) == {"intent": "greeting"}
    student = call(trace_id, side="s7-3fa2", model="tickets.classify@s7-3fa2", outputs=None)
    got = call_row(student, context=CONTEXT)
    assert got.cost_usd == 0.0 and got.outputs is None
    assert call_row(call(trace_id, model="somewhere/else"), context=CONTEXT).cost_usd is None


@pytest.mark.parametrize("count", [-1, 2**63])
def test_odd_token_counts_of_a_call_are_unknown(count: int) -> None:
    got = call_row(call(new_id(), tokens_in=count), context=CONTEXT)
    assert (got.tokens_in, got.tokens_out, got.cost_usd) == (None, 50, None)


def test_a_gap_has_a_row_for_each_reason() -> None:
    gap = Gap(worker="w1", from_us=TS_US, to_us=TS_US + 1, dropped={"quota": 3, "disk": 4})
    assert {(got.reason, got.n) for got in gap_rows(gap)} == {("quota", 3), ("disk", 4)}
