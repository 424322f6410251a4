from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distiller.dataset.build import build
from distiller.dataset.values import (
    Call,
    Dataset,
    DatasetSpec,
    Drop,
    Refused,
    Source,
    Split,
    TooFewRows,
    Trace,
)
from tests.distiller.traces_in_store import trace_uuid
from traces.buckets import bucket_of

SPEC = DatasetSpec(
    route="tickets",
    program=False,
    program_version="v1",
    metric_hash="m",
    cutoff=1e9,
    min_rows=1,
    min_exam_rows=0,
)
WORDS = ["money", "card", "lost", "refund", "pending", "top", "up", "limit", "cash", "atm"]


def trace(number: int, text: str, **changes: Any) -> Trace:
    made = Trace(
        trace_id=trace_uuid(number),
        ts=float(number),
        state="done",
        status=200,
        finish="stop",
        served_by="teacher",
        program_version="v1",
        bucket=60,
        request=json.dumps({"messages": [{"role": "user", "content": text}]}),
        answer="refund",
        score=1.0,
        coverage="all",
    )
    return msgspec.structs.replace(made, **changes)


def made(traces: list[Trace], spec: DatasetSpec = SPEC) -> Dataset:
    outcome = build(traces, spec)
    assert isinstance(outcome, Dataset), outcome
    return outcome


@st.composite
def logs(draw: st.DrawFn) -> list[Trace]:
    rng = random.Random(draw(st.integers(0, 10_000)))
    traces = []
    for number in range(draw(st.integers(20, 60))):
        text = " ".join(rng.choices(WORDS, k=rng.randint(1, 6)))
        bucket = bucket_of(f"user {rng.randint(0, 15)}", salt="s")
        gold = rng.choice([None, '"a"', '"b"'])
        changes: dict[str, Any] = {
            "bucket": bucket,
            "gold": gold,
            "answer": rng.choice("ab"),
            "score": rng.choice([None, 0.0, 1.0]),
            "status": rng.choice([200, 200, 200, 500]),
            "served_by": rng.choice(["teacher", "teacher", "student"]),
        }
        traces.append(trace(number, text, **changes))
    return traces


@settings(max_examples=25)
@given(logs(), st.randoms(use_true_random=False))
def test_the_order_of_the_traces_changes_nothing(log: list[Trace], rng: random.Random) -> None:
    first = build(log, SPEC)
    shuffled = list(log)
    rng.shuffle(shuffled)
    assert build(shuffled, SPEC) == first


@settings(max_examples=25)
@given(logs())
def test_every_trace_is_kept_or_dropped_with_a_reason(log: list[Trace]) -> None:
    outcome = build(log, SPEC)
    if isinstance(outcome, Dataset):
        seen = [row.trace_id for row in (*outcome.rows, *outcome.dropped)]
        assert Counter(seen) == Counter(one.trace_id for one in log)
        dups = sum(row.n_dups for row in outcome.rows)
        assert dups <= outcome.funnel.dropped.get(Drop.DUPLICATE, 0)


@settings(max_examples=25)
@given(logs())
def test_a_group_never_straddles_splits_and_nothing_held_out_is_trained_on(
    log: list[Trace],
) -> None:
    outcome = build(log, SPEC)
    if isinstance(outcome, Dataset):
        texts = {one.trace_id: one.request for one in log}
        buckets = {one.trace_id: one.bucket for one in log}
        by_bucket: dict[int | None, set[Split]] = {}
        for row in outcome.rows:
            by_bucket.setdefault(buckets[row.trace_id], set()).add(row.split)
        assert all(len(splits) == 1 for splits in by_bucket.values())
        held_out = {texts[r.trace_id] for r in outcome.rows if r.split is not Split.TRAIN}
        assert not held_out & {texts[row.trace_id] for row in outcome.split(Split.TRAIN)}


def test_the_best_row_of_an_input_stays_and_counts_the_others() -> None:
    log = [
        trace(1, "Where is my money?", score=0.8),
        trace(2, "where is my MONEY", score=1.0),
        trace(3, "where is my money", score=0.9),
        trace(4, "something else"),
    ]
    dataset = made(log)
    kept = {row.trace_id: row.n_dups for row in dataset.rows}
    assert kept == {trace_uuid(2): 2, trace_uuid(4): 0}
    assert dataset.funnel.dropped == {Drop.DUPLICATE: 2}


def test_a_correction_settles_what_the_teacher_contradicts_itself_on() -> None:
    log = [trace(1, "same", answer="a"), trace(2, "same", answer="b"), trace(3, "other")]
    assert made(log).funnel.dropped == {Drop.TEACHER_DISAGREES: 2}
    log.append(trace(4, "same", answer="a", score=0.0, gold='"c"'))
    settled = next(row for row in made(log).rows if row.trace_id == trace_uuid(4))
    assert (settled.source, settled.outputs) == (Source.CORRECTION, {"answer": "c"})


def wrong(number: int, text: str, gold: str, coverage: str = "volunteered") -> Trace:
    return trace(number, text, score=0.0, gold=f'"{gold}"', coverage=coverage)


@pytest.mark.parametrize(
    ("log", "kept", "dropped"),
    [
        # answers that agree
        ([trace(n, "same") for n in range(1, 50)] + [wrong(50, "same", "spam")], "refund",
         {Drop.DUPLICATE: 48, Drop.OUTVOTED: 1}),
        ([trace(1, "same"), wrong(2, "same", "spam", "all"), wrong(3, "same", "x")], "spam",
         {Drop.OTHER_ANSWER: 1, Drop.OUTVOTED: 1}),
        ([trace(1, "same"), wrong(2, "same", "refund")], "refund", {Drop.DUPLICATE: 1}),
        # answers that don't, or none
        ([trace(1, "same"), trace(2, "same", answer="a"), wrong(3, "same", "spam")], "spam",
         {Drop.OTHER_ANSWER: 2}),
        ([wrong(1, "same", "spam")], "spam", {}),
    ],
)  # fmt: skip
def test_a_volunteered_correction_settles_only_what_is_contested(
    log: list[Trace], kept: str, dropped: dict[str, int]
) -> None:
    dataset = made(log)
    (row,) = dataset.rows
    assert row.outputs == {"answer": kept}
    assert row.n_dups == dropped.get(Drop.DUPLICATE, 0)
    assert dataset.funnel.dropped == dropped


@pytest.mark.parametrize(
    "rows",
    [
        [trace(n, "same") for n in range(1, 50)] + [trace(50, "same", answer="spam")],
        # the score of a correction is that of the answer that it corrects
        [wrong(n, "same", "refund", "all") for n in range(1, 50)]
        + [msgspec.structs.replace(wrong(50, "same", "spam", "all"), score=0.5)],
    ],
)
def test_the_commonest_answer_stays_whatever_the_newest_says(rows: list[Trace]) -> None:
    dataset = made(rows)
    (row,) = dataset.rows
    assert (row.outputs, row.n_dups) == ({"answer": "refund"}, 48)
    assert dataset.funnel.dropped == {Drop.DUPLICATE: 48, Drop.OTHER_ANSWER: 1}


def test_a_text_is_the_same_in_one_part_or_in_two() -> None:
    parts = [{"type": "text", "text": text} for text in ("where is ", "my money")]
    request = json.dumps({"messages": [{"role": "user", "content": parts}]})
    log = [trace(1, "Where is my money?"), trace(2, "", request=request)]
    assert len(made(log).rows) == 1
    log.append(trace(3, "", request=request, bucket=3, gold='"refund"'))
    log.append(trace(4, "something else"))
    assert made(log).funnel.dropped == {Drop.DUPLICATE: 1, Drop.NEAR_HOLDOUT: 1}


def test_the_same_question_under_another_system_prompt_is_another_input() -> None:
    other = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "same"}]
    log = [trace(1, "same"), trace(2, "same", request=json.dumps({"messages": other}))]
    assert len(made(log).rows) == 2


def prompted(number: int, system: str) -> Trace:
    messages = [
        {"role": "system", "content": system},
        {"role": "user", "content": f"ticket {'x' * number}"},
    ]
    return trace(number, "", request=json.dumps({"messages": messages}))


def test_system_messages_that_share_no_line_are_warned_of() -> None:
    def said(systems: list[str]) -> bool:
        dataset = made([prompted(number, system) for number, system in enumerate(systems)])
        return any("share no line" in warning for warning in dataset.funnel.warnings)

    old, new = "Answer refund or card.", "Answer money_back or plastic."
    assert said([old, new, new])
    assert not said([new, new, new])
    assert not said([f"Today is day {n}.\n{new}" for n in range(3)])


def test_exam_and_calibration_keep_duplicates_and_failures() -> None:
    log = [trace(n, "same", bucket=3, gold='"x"', score=0.0) for n in range(3)]
    log += [trace(n, "alike", bucket=15, gold='"x"', score=0.0) for n in range(3, 6)]
    dataset = made([*log, trace(7, "to train on")])
    assert dataset.funnel.rows == {"exam": 3, "calibration": 3, "dev": 0, "train": 1}


@pytest.mark.parametrize("bucket", [3, 15, 25])
def test_train_rows_near_a_held_out_row_are_dropped_never_the_other(bucket: int) -> None:
    text = "My card was declined at the supermarket although there is money on the account"
    held_out = trace(1, text, bucket=bucket, gold='"refund"')
    log = [held_out, trace(2, text + "!"), trace(3, f"{text} today"), trace(4, "something else")]
    dataset = made(log)
    assert [row.trace_id for row in dataset.split(Split.TRAIN)] == [trace_uuid(4)]
    assert dataset.funnel.dropped == {Drop.NEAR_HOLDOUT: 2}
    assert dataset.funnel.near_share == pytest.approx(2 / 3)
    assert any("decontamination took 67%" in warning for warning in dataset.funnel.warnings)


@pytest.mark.parametrize("held_out_first", [True, False])
def test_a_conversation_that_ends_with_a_held_out_question_is_near_it(held_out_first: bool) -> None:
    """A classifier reads the newest message alone, whatever was said before it."""

    def asked(number: int, *texts: str, **changes: Any) -> Trace:
        messages = [{"role": "user", "content": text} for text in texts]
        return trace(number, "", request=json.dumps({"messages": messages}), **changes)

    question = "My card was declined at the supermarket"
    long = (
        "Hello there, I have been a customer since 2019 and would like to ask you this",
        question,
    )
    held_out, taught = [(question,), long] if held_out_first else [long, (question,)]
    log = [asked(1, *held_out, bucket=3, gold='"refund"'), asked(2, *taught), asked(3, "other")]
    dataset = made(log)
    assert [row.trace_id for row in dataset.split(Split.TRAIN)] == [trace_uuid(3)]
    assert dataset.funnel.dropped == {Drop.NEAR_HOLDOUT: 1}


def test_the_exam_is_capped_by_a_stable_hash() -> None:
    log = [trace(n, f"question {n}", bucket=3, gold='"x"') for n in range(40)]
    spec = msgspec.structs.replace(SPEC, max_exam_rows=10)
    small = made([*log[:30], trace(99, "to train on")], spec)
    large = made([*log, trace(99, "to train on")], spec)
    assert small.funnel.rows["exam"] == large.funnel.rows["exam"] == 10
    assert small.funnel.dropped == {Drop.EXAM_FULL: 20}
    new = {one.trace_id for one in log[30:]}
    before = {row.trace_id for row in small.split(Split.EXAM)}
    assert {row.trace_id for row in large.split(Split.EXAM)} <= before | new


def test_too_few_rows_says_how_many_more_traces_are_needed() -> None:
    log = [trace(n, f"question number {'x' * n}", score=float(n % 2)) for n in range(40)]
    outcome = build(log, msgspec.structs.replace(SPEC, min_rows=50))
    assert isinstance(outcome, TooFewRows)
    assert outcome.what == "train rows"
    assert outcome.more_traces == pytest.approx(40 * (50 - outcome.have) / outcome.have, abs=1)
    assert f"{outcome.more_traces:,} more traces" in outcome.reason
    assert outcome.funnel.pass_rate == 0.5


def test_no_row_at_all_names_the_causes() -> None:
    log = [trace(n, f"question {'x' * n}", score=None) for n in range(3)]
    outcome = build(log, SPEC)
    assert isinstance(outcome, TooFewRows)
    assert outcome.more_traces is None
    assert "none of 3 traces gave one (3 x not scored)" in outcome.reason


def test_an_exam_without_labels_is_asked_for_before_anything_is_trained() -> None:
    log = [trace(n, f"question {'x' * n}") for n in range(20)]
    outcome = build(log, msgspec.structs.replace(SPEC, min_exam_rows=10))
    assert isinstance(outcome, TooFewRows)
    assert outcome.what == "labelled exam rows"


def test_a_program_with_two_predictors_is_refused_by_name() -> None:
    calls = tuple(
        Call(
            trace_id=trace_uuid(1),
            call_id=name,
            predictor=name,
            side="teacher",
            inputs={"text": "x"},
            outputs={"out": "y"},
        )
        for name in ("plan", "answer")
    )
    outcome = build([trace(1, "x", calls=calls)], msgspec.structs.replace(SPEC, program=True))
    assert isinstance(outcome, Refused)
    assert "2 predictors (answer, plan)" in outcome.reason


def test_the_hash_follows_the_rows() -> None:
    log = [trace(n, f"question {'x' * n}") for n in range(5)]
    first = made(log)
    assert made(log).sha256 == first.sha256
    assert made(log, msgspec.structs.replace(SPEC, cutoff=2e9)).sha256 == first.sha256
    changed = [msgspec.structs.replace(log[0], answer="other"), *log[1:]]
    assert made(changed).sha256 != first.sha256
