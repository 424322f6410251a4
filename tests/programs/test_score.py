"""What a metric may return, what it sees, and the built-in metric."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from programs.errors import LoadError
from programs.exact_match import exact_match, exact_match_field
from programs.score import Fields, Score, call_metric, normalise


@pytest.mark.parametrize(
    ("returned", "value"),
    [
        (True, 1.0),
        (False, 0.0),
        (1, 1.0),
        (0.5, 0.5),
        (SimpleNamespace(score=0.25), 0.25),
        (SimpleNamespace(score=True), 1.0),
    ],
)
def test_a_score(returned: object, value: float) -> None:
    assert normalise(returned) == Score(value=value)


@pytest.mark.parametrize(
    "returned",
    [None, "good", b"", math.nan, math.inf, -0.1, 1.1, 100, [], {}, SimpleNamespace(score=None)],
)
def test_no_score(returned: object) -> None:
    score = normalise(returned)
    assert score.value is None
    assert score.not_scored


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_number_is_a_score_exactly_between_0_and_1(number: float) -> None:
    score = normalise(number)
    assert (score.value == number) == (0.0 <= number <= 1.0)
    assert (score.value is None) == (score.not_scored is not None)


def test_fields_have_attributes_and_items() -> None:
    fields = Fields("example", {"text": "a", "items": 3})
    assert fields.text == fields["text"] == "a"
    assert fields["items"] == 3
    assert "text" in fields
    assert fields.get("gold") is None
    assert fields.toDict() == {"text": "a", "items": 3}
    assert list(fields) == list(fields.keys()) == ["text", "items"]
    assert len(fields.values()) == len(fields) == 2
    with pytest.raises(AttributeError, match="example has no 'gold'; it has text, items"):
        _ = fields.gold
    with pytest.raises(KeyError):
        _ = fields["gold"]


def test_a_metric_gets_the_arguments_of_its_form() -> None:
    def three(example: Any, prediction: Any, trace: Any = "default") -> bool:
        return bool(trace == "default" and example.a == prediction.a)

    assert call_metric(three, {"a": 1}, {"a": 1}) == Score(value=1.0)
    assert call_metric(lambda *given: len(given) == 2, {}, {}) == Score(value=1.0)
    assert call_metric(lambda a, b, c, d, e: e is None, {}, {}) == Score(value=1.0)


@pytest.mark.parametrize(
    ("gold", "given", "value"),
    [
        ("Lost Card", " lost\n card ", 1.0),
        ("lost", "found", 0.0),
        ("lost", None, 0.0),
        (1, 1.0, 1.0),
        ("1", 1, 1.0),
        (True, True, 1.0),
        (["a"], ["a"], 1.0),
        ({"a": 1}, {"a": 2}, 0.0),
    ],
)
def test_exact_match(gold: object, given: object, value: float) -> None:
    score = exact_match("category", {"category": gold}, {"category": given})
    assert score == Score(value=value)


def test_exact_match_without_gold_is_not_scored() -> None:
    assert exact_match("category", {}, {"category": "a"}).not_scored == "no gold for `category`"


def test_the_form_of_exact_match() -> None:
    assert exact_match_field("exact_match(category)") == "category"
    assert exact_match_field(" exact_match( a_1 ) ") == "a_1"
    assert exact_match_field("metrics:right") is None
    for wrong in ("exact_match", "exact_match()", "exact_match(a, b)"):
        with pytest.raises(LoadError, match=r"write exact_match\(FIELD\)"):
            exact_match_field(wrong)
