from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distiller.dataset.near import NearIndex, jaccard, near_rows, shingles, signature, slots
from distiller.dataset.text import bare, inputs_key, without_template
from tests.shared import shared

LONG = "My card was declined at the supermarket although there is enough money on the account"


def test_a_small_edit_of_a_long_text_is_near() -> None:
    assert NearIndex([LONG]).near(LONG.replace("although", "even though"))


def test_another_text_is_not_near() -> None:
    assert not NearIndex([LONG]).near("How do I change the address that my statements go to?")


@pytest.mark.parametrize(
    ("protected", "text"),
    [
        ("Please refund order 1181 that I placed with you last week", "1181 1182"),
        ("I was charged $20.50 twice for the same thing on Monday", "$20.50 $25.50"),
        ("Why can I get cash at the machine in the main station?", "can can't"),
        ("My new card has arrived and I can see it in the app", "has has not"),
    ],
)
def test_other_digits_or_a_negation_keep_texts_apart(protected: str, text: str) -> None:
    old, new = text.split(" ", 1)
    changed = protected.replace(old, new)
    assert jaccard(shingles(protected), shingles(changed)) > 0.7
    assert not NearIndex([protected]).near(changed)
    assert slots(protected) != slots(changed)


def test_equal_after_normalisation_is_near_however_short() -> None:
    texts = ["top-up", "Top  up!", "\u201ctop up\u201d.", "(top up)", "pop up"]
    assert near_rows(texts, ["top up"]) == [True, True, True, True, False]
    assert (
        near_rows(["I don\u2019t know", "\u4f60\u597d\u3002"], ["i don't know", "\u4f60\u597d"])
        == [True] * 2
    )


@pytest.mark.parametrize(
    ("left", "right"),
    [("-5", "5"), ("2*3", "2/3"), ("3-2", "3 2"), ("C#", "C"), ("!valid", "valid"), ("5%", "5")],
)
def test_signs_and_symbols_make_another_input(left: str, right: str) -> None:
    assert bare(f"Is {left} right?") != bare(f"is {right} right")
    assert not NearIndex([left]).near(right)
    assert inputs_key({"text": left}) != inputs_key({"text": right})


def test_inputs_that_are_no_text_are_compared_as_values() -> None:
    assert inputs_key({"n": -3, "text": "Hi!"}) == inputs_key({"text": "hi", "n": -3})
    assert inputs_key({"n": -3}) != inputs_key({"n": 3})
    assert inputs_key({"items": ["a", "b"]}) != inputs_key({"items": "a b"})


def test_the_minhash_estimates_the_jaccard_similarity() -> None:
    left, right = LONG, LONG.replace("supermarket", "petrol station")
    exact = jaccard(shingles(left), shingles(right))
    estimate = float(np.mean(signature(left) == signature(right)))
    assert abs(exact - estimate) < 0.15


@settings(max_examples=30)
@given(st.text(max_size=200))
def test_every_text_is_near_itself(text: str) -> None:
    assert NearIndex([text]).near(text)


@settings(max_examples=20)
@given(st.lists(st.text(alphabet="abc ", min_size=20, max_size=40), max_size=12))
def test_what_is_near_is_really_near(texts: list[str]) -> None:
    left, right = texts[::2], texts[1::2]
    for text, near in zip(left, near_rows(left, right), strict=True):
        if near:
            similar = any(jaccard(shingles(text), shingles(other)) >= 0.8 for other in right)
            assert similar or bare(text) in {bare(other) for other in right}


def test_a_template_is_no_similarity() -> None:
    instruction = "Classify the following message of a customer of our bank into one intent.\n"
    texts = [f"{instruction}Message: question {word * 9}" for word in "abcdefghijklmnopqrstu"]
    assert any(near_rows(texts[:1], texts[1:]))
    stripped = without_template(texts)
    assert not any(near_rows(stripped[:1], stripped[1:]))
    assert all(instruction.strip() not in text for text in stripped)


def test_few_texts_keep_their_shared_parts() -> None:
    assert without_template(["same a", "same b"]) == ["same a", "same b"]


def _column(name: str) -> list[str]:
    with shared("data", "banking77", name).open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


def test_real_leaks_are_found() -> None:
    recorded, train = _column("recorded_gpt4.csv"), _column("train.csv")
    found = [text for text, near in zip(recorded, near_rows(recorded, train), strict=True) if near]
    exact = {bare(text) for text in train}
    assert sum(bare(text) in exact for text in recorded) == 25
    inverted: dict[str, list[int]] = {}
    cut = [shingles(text) for text in train]
    for number, parts in enumerate(cut):
        for part in parts:
            inverted.setdefault(part, []).append(number)
    near = 0
    for text in found:
        own = shingles(text)
        met = {number for part in own for number in inverted.get(part, ())}
        near += any(jaccard(own, cut[number]) >= 0.8 for number in met)
    # An exhaustive search finds 100 near rows; equal after normalisation adds 15 further ones.
    assert near == 100
    assert len(found) == 115
