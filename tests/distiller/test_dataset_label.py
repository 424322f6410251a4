from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from distiller.dataset.label import label
from distiller.dataset.values import (
    Call,
    DatasetSpec,
    Drop,
    Dropped,
    Row,
    Source,
    Split,
    Trace,
)

PLAIN = DatasetSpec(
    route="tickets", program=False, program_version="v1", metric_hash="m", cutoff=1e9
)
PROGRAM = msgspec.structs.replace(PLAIN, program=True)
TRAIN, DEV, CALIBRATION, EXAM = 60, 25, 15, 3


def plain(**changes: Any) -> Trace:
    trace = Trace(
        trace_id="t1",
        ts=1.0,
        state="done",
        status=200,
        finish="stop",
        finish_reason="stop",
        served_by="teacher",
        program_version="v1",
        bucket=TRAIN,
        request=json.dumps({"messages": [{"role": "user", "content": "where is my money"}]}),
        text="where is my money",
        answer="refund",
        score=1.0,
    )
    return msgspec.structs.replace(trace, **changes)


def program(**changes: Any) -> Trace:
    outputs = {"reasoning": "because", "category": "refund", "confidence": 0.7}
    return plain(**{"calls": (call(outputs=outputs),), "answer": json.dumps(outputs), **changes})


def call(**changes: Any) -> Call:
    made = Call(
        trace_id="t1", call_id="c1", predictor="classify", side="teacher", inputs={"text": "where"}
    )
    return msgspec.structs.replace(made, **changes)


def only(trace: Trace, spec: DatasetSpec = PLAIN) -> Row | Dropped:
    predictor = "classify" if spec.program else "answer"
    (entry,) = label(trace, predictor, spec)
    return entry


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"state": "aborted"}, Drop.NOT_FINISHED),
        ({"finish": "client_disconnect"}, Drop.NOT_FINISHED),
        ({"status": 500}, Drop.ERROR_STATUS),
        ({"finish_reason": "length"}, Drop.TRUNCATED),
        ({"fallback": "timeout"}, Drop.FALLBACK),
        ({"retry": True}, Drop.RETRY),
        ({"program_version": "v0"}, Drop.OTHER_VERSION),
        ({"bucket": None}, Drop.NO_BUCKET),
        ({"text": None}, Drop.NO_TEXT),
        ({"answer": ""}, Drop.NO_TEXT),
        ({"served_by": "student"}, Drop.STUDENT_SERVED),
        ({"served_by": "student", "confirmed": True}, Drop.STUDENT_SERVED),
        ({"score": 0.79}, Drop.BELOW_PASS),
        ({"score": None}, Drop.NOT_SCORED),
    ],
)
def test_what_is_left_out_and_why(changes: dict[str, Any], reason: Drop) -> None:
    entry = only(plain(**changes))
    assert isinstance(entry, Dropped)
    assert entry.reason is reason


def test_a_passing_answer_trains_as_the_teachers() -> None:
    entry = only(plain(score=0.8))
    assert isinstance(entry, Row)
    assert (entry.source, entry.outputs) == (Source.TEACHER, {"answer": "refund"})


@pytest.mark.parametrize("score", [0.0, None])
def test_a_wrong_answer_with_gold_trains_with_the_gold(score: float | None) -> None:
    entry = only(plain(score=score, gold='"top_up"', coverage="volunteered"))
    assert isinstance(entry, Row)
    assert (entry.source, entry.outputs) == (Source.CORRECTION, {"answer": "top_up"})


def test_an_unscored_but_confirmed_answer_trains_as_the_teachers() -> None:
    entry = only(plain(score=None, confirmed=True))
    assert isinstance(entry, Row)
    assert entry.source is Source.TEACHER


def test_a_student_answered_request_trains_with_its_gold_and_nothing_else() -> None:
    entry = only(plain(served_by="student", score=None, gold='"top_up"'))
    assert isinstance(entry, Row)
    assert (entry.source, entry.outputs) == (Source.CORRECTION, {"answer": "top_up"})
    assert entry.answer is None


@pytest.mark.parametrize(
    ("gold", "answer"),
    [('"a"', "a"), ('{"answer":"b"}', "b"), ('{"x":1}', '{"x":1}'), ("3", "3")],
)
def test_forms_of_gold_of_a_plain_route(gold: str, answer: str) -> None:
    entry = only(plain(score=0.0, gold=gold))
    assert isinstance(entry, Row)
    assert entry.outputs == {"answer": answer}


@pytest.mark.parametrize("bucket", [EXAM, CALIBRATION])
@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"gold": '"top_up"', "coverage": "all", "score": 0.0}, True),
        ({"gold": '"top_up"', "coverage": "audit", "score": None}, True),
        ({"confirmed": True, "coverage": "all"}, True),
        ({"gold": '"top_up"', "coverage": "volunteered"}, Drop.NO_LABEL),
        ({}, Drop.NO_LABEL),
        ({"confirmed": False, "coverage": "all"}, Drop.NO_GOLD),
        ({"served_by": "student", "gold": '"top_up"', "coverage": "all"}, Drop.STUDENT_SERVED),
    ],
)
def test_held_out_rows_are_unfiltered_and_labelled(
    bucket: int, changes: dict[str, Any], kept: bool | Drop
) -> None:
    entry = only(plain(bucket=bucket, **changes))
    if isinstance(kept, Drop):
        assert isinstance(entry, Dropped)
        assert entry.reason is kept
    else:
        assert isinstance(entry, Row)
        assert entry.source is Source.GOLD
        assert entry.answer == "refund"
        gold = changes.get("gold", '"refund"')
        assert entry.gold == gold
        assert entry.outputs == {"answer": json.loads(gold)}


def test_without_need_of_labels_every_teacher_answer_is_an_exam_row() -> None:
    spec = msgspec.structs.replace(PLAIN, needs_label=False)
    entry = only(plain(bucket=EXAM, score=0.0), spec)
    assert isinstance(entry, Row)
    assert entry.gold is None


@pytest.mark.parametrize(
    ("bucket", "split"),
    [
        (0, "exam"),
        (11, "exam"),
        (12, "calibration"),
        (23, "calibration"),
        (24, "dev"),
        (30, "train"),
    ],
)
def test_buckets_decide_the_split(bucket: int, split: str) -> None:
    entry = only(plain(bucket=bucket, gold='"x"', coverage="all"))
    assert entry.split == Split(split)


def test_a_programs_row_comes_from_the_call_of_its_predictor() -> None:
    entry = only(program(), PROGRAM)
    assert isinstance(entry, Row)
    assert (entry.call_id, entry.inputs) == ("c1", {"text": "where"})
    assert entry.outputs == {"reasoning": "because", "category": "refund", "confidence": 0.7}


@pytest.mark.parametrize("gold", ['"top_up"', '{"category": "top_up", "ticket": 7}'])
def test_a_programs_correction_has_no_reasoning_and_full_confidence(gold: str) -> None:
    entry = only(program(score=0.0, gold=gold), PROGRAM)
    assert isinstance(entry, Row)
    assert entry.outputs == {"category": "top_up", "confidence": 1.0}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"calls": ()}, Drop.NO_CALL),
        ({"calls": (call(outputs={"category": "a"}, error="boom"),)}, Drop.NO_CALL),
        ({"calls": (call(outputs={"category": None}),)}, Drop.NO_CALL),
        ({"score": 0.0, "gold": '{"other": 1}'}, Drop.GOLD_UNKNOWN),
        (
            {"score": 0.0, "gold": '"x"', "calls": (call(outputs={"a": "1", "b": "2"}),)},
            Drop.GOLD_UNKNOWN,
        ),
        (
            {
                "served_by": "student",
                "gold": '{"a": "x"}',
                "calls": (call(outputs={"a": "1", "b": "2"}),),
            },
            Drop.GOLD_INCOMPLETE,
        ),
        (
            {
                "score": 0.0,
                "gold": '"x"',
                "calls": (
                    call(outputs={"category": "a"}),
                    call(call_id="c2", inputs={"text": "other"}, outputs={"category": "b"}),
                ),
            },
            Drop.REPEATED_PREDICTOR,
        ),
    ],
)
def test_program_traces_that_give_no_row(changes: dict[str, Any], reason: Drop) -> None:
    entry = only(program(**changes), PROGRAM)
    assert isinstance(entry, Dropped)
    assert entry.reason is reason


def test_a_predictor_that_runs_twice_gives_two_rows_when_the_trace_passed() -> None:
    calls = (
        call(outputs={"category": "a"}),
        call(call_id="c2", inputs={"text": "other"}, outputs={"category": "b"}),
    )
    rows = label(program(calls=calls), "classify", PROGRAM)
    assert [row.call_id for row in rows] == ["c1", "c2"]


def test_a_repeated_call_with_the_same_inputs_counts_once_and_the_last_one_counts() -> None:
    calls = (call(outputs={"category": "a"}), call(call_id="c2", outputs={"category": "b"}))
    entry = only(program(calls=calls), PROGRAM)
    assert isinstance(entry, Row)
    assert (entry.call_id, entry.outputs) == ("c2", {"category": "b"})
