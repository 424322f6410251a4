from __future__ import annotations

from typing import Any

import pytest

from programs.gold import plain_answer, plain_gold, program_gold


@pytest.mark.parametrize(
    ("gold", "outputs", "fields"),
    [
        ("refund", ["reasoning", "category", "confidence"], {"category": "refund"}),
        ({"category": "refund", "x": 1}, ["category"], {"category": "refund", "x": 1}),
        ('{"a": 1, "b": 2}', ["a", "b"], {"a": 1, "b": 2}),
        ('{"x": 1}', ["category"], {"category": '{"x": 1}'}),
        (3, ["priority", "confidence"], {"priority": 3}),
        (["a"], ["tags"], {"tags": ["a"]}),
        ("refund", ["a", "b"], {"answer": "refund"}),
        ("refund", [], {"answer": "refund"}),
    ],
)
def test_gold_as_the_outputs_of_a_program(
    gold: Any, outputs: list[str], fields: dict[str, Any]
) -> None:
    assert program_gold(gold, outputs) == fields


@pytest.mark.parametrize(
    ("gold", "text", "fields"),
    [
        ("refund", "refund", {"answer": "refund"}),
        ({"answer": "refund", "by": "me"}, "refund", {"answer": "refund", "by": "me"}),
        ({"x": 1}, '{"x":1}', {"answer": {"x": 1}, "x": 1}),
        (42, "42", {"answer": 42}),
    ],
)
def test_gold_of_a_plain_route_in_text(gold: Any, text: str, fields: dict[str, Any]) -> None:
    assert plain_gold(gold, as_json=False) == (text, fields)


@pytest.mark.parametrize(
    "gold", [{"b": 1, "answer": "x"}, '{"b": 1, "answer": "x"}', '{"answer":"x","b":1}']
)
def test_gold_of_a_plain_route_in_json_is_the_whole_object(gold: Any) -> None:
    assert plain_gold(gold, as_json=True) == ('{"answer":"x","b":1}', {"answer": "x", "b": 1})


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (' {"b": 1, "a": [1, 2]}\n', '{"a":[1,2],"b":1}'),
        ("[1, 2]", "[1,2]"),
        ('{"cut": ', '{"cut": '),
        ("[" * 5_000, "[" * 5_000),
        ("no JSON", "no JSON"),
        ([1, 2], "[1,2]"),
    ],
)
def test_an_answer_in_json_has_one_form(answer: Any, text: str) -> None:
    assert plain_answer(answer, as_json=True) == text


def test_an_answer_in_text_stays_as_it_is() -> None:
    assert plain_answer('{"b": 1}', as_json=False) == '{"b": 1}'
