from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces.buckets import bucket_of, split_group, split_of
from traces.inputs import inputs_hash, normalise, user_hash

fields = st.dictionaries(st.text(max_size=5), st.text(max_size=20) | st.integers(), max_size=4)


@given(text=st.text())
def test_normalising_twice_changes_nothing_that_hashing_sees(text: str) -> None:
    assert normalise(f"  {text.upper()}\n") == normalise(text.upper())


@pytest.mark.parametrize(
    "other", ["where IS my card?", " Where is\n my card? ", "Where\u00a0is my card?"]
)
def test_case_and_white_space_make_no_difference(other: str) -> None:
    assert inputs_hash(other) == inputs_hash("Where is my card?")


def test_words_order_and_number_of_texts_make_one() -> None:
    hashes = {inputs_hash(value) for value in ("a b", "b a", ["a", "b"], ["a b", ""], [])}
    assert len(hashes) == 5


@given(value=fields)
def test_fields_count_in_any_order_and_as_text(value: dict[str, str | int]) -> None:
    turned = dict(reversed(value.items()))
    assert inputs_hash(value) == inputs_hash(turned) == inputs_hash(json.dumps(turned))


def test_a_text_that_only_looks_like_fields_is_a_text() -> None:
    assert inputs_hash("{hello} there") == inputs_hash(" {HELLO}  there")
    assert inputs_hash('{"a": 1}') != inputs_hash('{"a": "1"}')


def test_a_user_is_known_only_with_the_key() -> None:
    assert user_hash("ann", b"k") == user_hash("ann", b"k")
    assert len({user_hash("ann", b"k"), user_hash("ann", b"l"), user_hash("bob", b"k")}) == 3


def test_the_conversation_wins_over_the_user_over_the_inputs() -> None:
    assert split_group(conversation_id="c", user_hash="u", inputs_hash="i") == "conversation:c"
    assert split_group(conversation_id=None, user_hash="u", inputs_hash="i") == "user:u"
    assert split_group(conversation_id="", user_hash=None, inputs_hash="i") == "inputs:i"


def test_hashes_and_buckets_never_change() -> None:
    # rows are stored with these: another value would move them between exam and train
    assert inputs_hash("Where is my card?") == "a7b3d5d29917d97e55a42a1f8675f7df"
    assert inputs_hash(["a", "b"]) == "71835d87d84a86e991486e1cbccde0ad"
    assert inputs_hash({"b": 1, "a": "X"}) == "ef801795c4aac48b1738ef676ae7d53b"
    assert user_hash("ann", b"key") == "9d77c3180ff81edfbc099a7e91843e41"
    assert [bucket_of(f"inputs:{i}", salt="salt") for i in range(8)] == [
        31,
        28,
        29,
        18,
        32,
        19,
        95,
        96,
    ]


def test_splits_have_their_shares() -> None:
    splits = [split_of(bucket) for bucket in range(100)]
    shares = {split: splits.count(split) for split in ("exam", "calibration", "dev", "train")}
    assert shares == {"exam": 12, "calibration": 12, "dev": 6, "train": 70}
    assert (splits[11], splits[12], splits[23], splits[24], splits[29], splits[30]) == (
        "exam",
        "calibration",
        "calibration",
        "dev",
        "dev",
        "train",
    )
    found = [bucket_of(f"g{i}", salt="s") for i in range(20_000)]
    assert all(120 < found.count(bucket) < 290 for bucket in range(100))


@pytest.mark.parametrize("bucket", [-1, 100])
def test_there_are_a_hundred_buckets(bucket: int) -> None:
    with pytest.raises(ValueError, match="is not in"):
        split_of(bucket)
