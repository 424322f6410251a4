"""What the classifier is made of: features, closed sets, calibration, the skeleton."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from distiller.chat import Message
from distiller.features import (
    Vectoriser,
    character_grams,
    input_text,
    learn_vocabulary,
    word_grams,
)
from distiller.skeleton import Skeleton, constant_lines, skeleton_of, stale_reason
from distiller.student_server.classifier import softmax
from distiller.trainer.calibration import Labelled, fit_map, fit_temperature
from distiller.trainer.outputs import learnable_outputs
from distiller.trainer.refusal import Refused
from tests.fakes.tickets import tickets

TEXTS = st.text(alphabet=st.sampled_from("abcDE é\t\n 12._ß"), max_size=40)


class TestFeatures:
    @given(TEXTS)
    def test_grams_are_those_of_scikit_learn(self, text: str) -> None:
        characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5)).build_analyzer()
        assert sorted(character_grams(text)) == sorted(characters(text))
        assert word_grams(text) == TfidfVectorizer(ngram_range=(1, 2)).build_analyzer()(text)

    def test_weights_are_those_of_scikit_learn(self) -> None:
        texts = [ticket.text for ticket in tickets(200, seed=1)]
        ours = Vectoriser(learn_vocabulary(texts))
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2).fit(texts)
        block = len(words.vocabulary_)
        for text in texts[:20]:
            columns, values = ours.vector(text)
            mine = values[columns < block]
            theirs = words.transform([text]).tocsr()
            theirs.sort_indices()
            assert columns[columns < block].tolist() == theirs.indices.tolist()
            assert np.allclose(mine, theirs.data, atol=1e-5)

    def test_texts_without_a_known_term_are_empty_vectors(self) -> None:
        ours = Vectoriser(learn_vocabulary(["one two", "one two"]))
        assert len(ours.vector("").columns) == 0

    def test_several_inputs_are_named_in_the_text(self) -> None:
        assert input_text({"text": "hello"}) == "hello"
        assert input_text({"b": True, "a": "x"}) == "a: x\nb: true"
        assert input_text({"a": ["x"]}) == '["x"]'


class TestClosedSets:
    def test_values_are_sorted_and_typed(self) -> None:
        rows = [{"b": n % 2 == 0, "a": "xy"[n % 2], "n": n % 3} for n in range(30)]
        found = learnable_outputs(rows)
        assert [(f.name, f.values) for f in found.closed] == [
            ("b", (False, True)),
            ("a", ("x", "y")),
            ("n", (0, 1, 2)),
        ]
        assert found.confidence is None and found.order == ("b", "a", "n")

    def test_confidence_is_filled_and_reasoning_dropped(self) -> None:
        rows = [{"reasoning": str(n), "label": "x", "confidence": n / 50} for n in range(50)]
        found = learnable_outputs(rows)
        assert (found.confidence, found.order) == ("confidence", ("label", "confidence"))

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ([{"a": str(n)} for n in range(300)], "output 'a' has 300 different values"),
            ([{"a": "x"}] * 90 + [{"a": str(n)} for n in range(3)], "3 of 93 rows .*3.2%"),
            ([{"a": 0.5}], "output 'a' is a number with decimals"),
            ([{"a": {"b": 1}}], "output 'a' is a dict"),
            ([{"confidence": 0.5}], "leave nothing to learn"),
            ([{"confidence": "high"}, {"confidence": 0.5}], "'confidence' is a number with dec"),
            ([{"a": "x"}, {"b": "x"}], "training row 2 has the outputs"),
        ],
    )
    def test_open_outputs_are_refused_by_name(
        self, rows: list[dict[str, Any]], message: str
    ) -> None:
        with pytest.raises(Refused) as caught:
            learnable_outputs(rows)
        assert re.search(message, str(caught.value))

    @given(st.lists(st.sampled_from("ab"), min_size=200, max_size=250), st.integers(0, 20))
    @settings(max_examples=30)
    def test_more_singletons_never_close_a_set(self, values: list[str], extra: int) -> None:
        def is_closed(count: int) -> bool:
            try:
                learnable_outputs([{"a": v} for v in [*values, *map(str, range(count))]])
            except Refused:
                return False
            return True

        assert is_closed(extra) or not is_closed(extra + 1)


class TestCalibration:
    def test_the_temperature_that_made_the_labels_is_found(self) -> None:
        random = np.random.default_rng(0)
        logits = random.normal(0, 3, (6000, 5))
        truth = np.array([random.choice(5, p=p) for p in softmax(logits / 2.0)])
        found = fit_temperature([Labelled(logits, truth)])
        assert found is not None and abs(found - 2.0) < 0.1

    def test_rows_that_are_all_right_leave_some_doubt(self) -> None:
        logits = np.tile([4.0, 0.0], (50, 1))
        found = fit_temperature([Labelled(logits, np.zeros(50, np.int64))])
        assert found is not None
        assert 0.95 < softmax(logits[0] / found)[0] < 0.995

    def test_too_few_rows_calibrate_nothing(self) -> None:
        few = Labelled(np.zeros((3, 2)), np.zeros(3, np.int64))
        assert fit_temperature([few]) is None
        assert fit_map([0.5], [True]) is None

    def test_a_map_corrects_overconfidence(self) -> None:
        assert abs(mapped(fit_map([0.99] * 100, [True, False] * 50), 0.99) - 0.5) < 0.1
        found = fit_map([0.99] * 100 + [0.6] * 100, [True] * 90 + [False] * 10 + [True, False] * 50)
        assert abs(mapped(found, 0.99) - 0.9) < 0.05 and abs(mapped(found, 0.6) - 0.5) < 0.05

    def test_a_map_of_sure_and_right_answers_says_little_about_the_others(self) -> None:
        found = fit_map([0.9999 + n * 1e-6 for n in range(90)], [True] * 90)
        assert 0.95 < mapped(found, 0.9999) < 0.999
        assert mapped(found, 0.5) > 0.3 and mapped(found, 0.95) > mapped(found, 0.9)


def mapped(found: tuple[float, float] | None, probability: float) -> float:
    assert found is not None and found[0] >= 0
    z = found[0] * np.log(probability / (1 - probability)) + found[1]
    return float(1 / (1 + np.exp(-z)))


class TestSkeleton:
    PROMPT = (Message("system", "Choose."), Message("user", "text: hi\nPlease answer shortly."))

    def varied(self, count: int) -> list[tuple[Message, ...]]:
        return [
            (Message("system", "Choose."), Message("user", f"text: {n}\nPlease answer shortly."))
            for n in range(count)
        ]

    def test_the_same_prompt_with_another_text_is_fresh(self) -> None:
        skeleton = skeleton_of(self.varied(50))
        assert skeleton.lines == ("Please answer shortly.",)
        assert stale_reason(skeleton, self.PROMPT) is None

    @pytest.mark.parametrize(
        "messages",
        [
            (Message("system", "Choose!"), Message("user", "x\nPlease answer shortly.")),
            (Message("user", "x\nPlease answer shortly."),),
            (Message("system", "Choose."), Message("user", "x\nPlease answer at length.")),
        ],
    )
    def test_another_prompt_is_stale(self, messages: tuple[Message, ...]) -> None:
        assert stale_reason(skeleton_of(self.varied(50)), messages) is not None

    def test_what_varied_in_training_binds_nothing(self) -> None:
        prompts = [(Message("system", f"Today is {n}."), Message("user", "hi")) for n in range(9)]
        assert skeleton_of(prompts) == Skeleton(system_sha256=None, lines=())
        assert stale_reason(skeleton_of(prompts), self.PROMPT) is None

    def test_a_date_in_the_system_message_frees_of_nothing_else(self) -> None:
        def prompt(day: int, rule: str) -> tuple[Message, ...]:
            return (Message("system", f"Today is day {day}.\n{rule}"), Message("user", str(day)))

        skeleton = skeleton_of(prompt(day, "Answer refund or card.") for day in range(30))
        assert stale_reason(skeleton, prompt(31, "Answer refund or card.")) is None
        assert stale_reason(skeleton, prompt(31, "Answer in French.")) is not None
        assert stale_reason(skeleton, (Message("user", "31"),)) is not None

    def test_a_system_message_that_was_never_there_is_stale(self) -> None:
        prompts = [(Message("user", str(n)),) for n in range(9)]
        assert stale_reason(skeleton_of(prompts), self.PROMPT) is not None

    def test_constant_lines_are_ordered_by_length_and_text(self) -> None:
        texts = [["a constant line\nb constant line\n", "a longer constant line"]] * 3
        assert constant_lines(texts, share=0.9) == [
            "a longer constant line",
            "a constant line\n",
            "b constant line\n",
        ]
