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
JSON = msgspec.structs.replace(PLAIN, as_json=True)
TRAIN, DEV, CALIBRATION, EXAM = 60, 25, 15, 3
PART = {"type": "text", "text": "where is"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:"}}
TOOL_CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}


def asked(content: Any, *before: dict[str, Any]) -> str:
    return json.dumps({"messages": [*before, {"role": "user", "content": content}]})


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
        request=asked("where is my money"),
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
        ({"request": "{}"}, Drop.NO_TEXT),
        ({"request": asked(" ")}, Drop.NO_TEXT),
        ({"answer": ""}, Drop.NO_TEXT),
        ({"answer": " \n"}, Drop.NO_TEXT),
        ({"request": asked([PART, IMAGE])}, Drop.NOT_TEXT),
        ({"request": asked("and now?", TOOL_CALL)}, Drop.NOT_TEXT),
        ({"request": asked("and now?", {"content": "no role"})}, Drop.NOT_TEXT),
        ({"request": '"no JSON object"'}, Drop.NOT_TEXT),
        ({"score": 0.0, "gold": '""'}, Drop.GOLD_EMPTY),
        ({"score": 0.0, "gold": '{"answer": " "}'}, Drop.GOLD_EMPTY),
        ({"score": 0.0, "gold": '{"answer": null}'}, Drop.GOLD_EMPTY),
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
@pytest.mark.parametrize(
    ("coverage", "source"),
    [
        ("all", Source.CORRECTION),
        ("audit", Source.CORRECTION),
        ("volunteered", Source.VOLUNTEERED),
    ],
)
def test_a_wrong_answer_with_gold_trains_with_the_gold(
    score: float | None, coverage: str, source: Source
) -> None:
    entry = only(plain(score=score, gold='"top_up"', coverage=coverage))
    assert isinstance(entry, Row)
    assert (entry.source, entry.outputs) == (source, {"answer": "top_up"})


def test_an_unscored_but_confirmed_answer_trains_as_the_teachers() -> None:
    entry = only(plain(score=None, confirmed=True))
    assert isinstance(entry, Row)
    assert entry.source is Source.TEACHER


def test_a_student_answered_request_trains_with_its_gold_and_nothing_else() -> None:
    entry = only(plain(served_by="student", score=None, gold='"top_up"', coverage="all"))
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


@pytest.mark.parametrize("gold", ['{"b": 1, "a": "x"}', '"{\\"b\\":1, \\"a\\": \\"x\\"}"'])
def test_an_answer_in_json_has_one_form_whoever_wrote_it(gold: str) -> None:
    answers = [
        plain(answer='{"a": "x", "b": 1}'),
        plain(answer='{"a": "y", "b": 2}', score=0.0, gold=gold),
    ]
    for answer in answers:
        entry = only(answer, JSON)
        assert isinstance(entry, Row)
        assert entry.outputs == {"answer": '{"a":"x","b":1}'}


def test_a_text_is_no_gold_for_an_object() -> None:
    entry = only(plain(answer='{"category": "x"}', score=0.0, gold='"refund"'), JSON)
    assert isinstance(entry, Dropped)
    assert entry.reason is Drop.GOLD_TYPE


def test_a_plain_row_has_the_text_that_the_student_server_reads() -> None:
    request = asked(
        [PART, {"type": "text", "text": " my money"}], {"role": "user", "content": "hi"}
    )
    entry = only(plain(request=request))
    assert isinstance(entry, Row)
    assert entry.inputs == {"text": "where is my money"}


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


@pytest.mark.parametrize(
    "gold",
    ['"top_up"', '{"category": "top_up", "ticket": 7}', '"{\\"category\\": \\"top_up\\"}"'],
)
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
        ({"calls": (call(inputs={}, outputs={"category": "a"}),)}, Drop.NO_CALL),
        ({"score": 0.0, "gold": '{"category": ["a"]}'}, Drop.GOLD_TYPE),
        ({"score": 0.0, "gold": '{"category": null}'}, Drop.GOLD_TYPE),
        ({"score": 0.0, "gold": '{"category": 3}'}, Drop.GOLD_TYPE),
        ({"score": 0.0, "gold": '{"confidence": "high"}'}, Drop.GOLD_TYPE),
        ({"score": 0.0, "gold": "true", "calls": (call(outputs={"n": 3}),)}, Drop.GOLD_TYPE),
        ({"score": 0.0, "gold": "2.5", "calls": (call(outputs={"n": 3}),)}, Drop.GOLD_TYPE),
        ({"score": 0.0, "gold": '""'}, Drop.GOLD_EMPTY),
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


@pytest.mark.parametrize(("taught", "gold", "learnt"), [(3, "2.0", 2), (0.5, "2", 2.0)])
def test_a_number_is_learnt_as_the_kind_of_number_that_the_teacher_gives(
    taught: float, gold: str, learnt: float
) -> None:
    entry = only(program(score=0.0, gold=gold, calls=(call(outputs={"n": taught}),)), PROGRAM)
    assert isinstance(entry, Row)
    assert (entry.outputs["n"], type(entry.outputs["n"])) == (learnt, type(taught))


def test_a_predictor_that_runs_twice_gives_two_rows_when_the_trace_passed() -> None:
    calls = (
        call(outputs={"category": "a"}),
        call(call_id="c2", inputs={"text": "other"}, outputs={"category": "b"}),
    )
    rows = label(program(calls=calls), "classify", PROGRAM)
    assert [row.call_id for row in rows] == ["c1", "c2"]


ATTEMPTS = (
    call(outputs={"category": "a", "confidence": 0.7}),
    call(call_id="c2", outputs={"category": "b", "confidence": 0.9}),
    call(call_id="c3", outputs={"category": "c", "confidence": 0.2}),
)


@pytest.mark.parametrize("bucket", [TRAIN, EXAM])
def test_of_several_attempts_at_the_same_inputs_the_one_that_was_answered_counts(
    bucket: int,
) -> None:
    """As with BestOfN, whose last attempt is seldom its best."""
    answer = '{"category": "b", "confidence": 0.9}'
    trace = program(calls=ATTEMPTS, answer=answer, bucket=bucket, confirmed=True, coverage="all")
    entry = only(trace, PROGRAM)
    assert isinstance(entry, Row)
    assert (entry.call_id, entry.outputs["category"]) == ("c2", "b")


@pytest.mark.parametrize("gold", [None, '"a"'])
def test_attempts_of_which_none_was_answered_give_no_row(gold: str | None) -> None:
    trace = program(calls=ATTEMPTS, answer='{"category": "d", "confidence": 1.0}', gold=gold)
    entry = only(trace, PROGRAM)
    assert isinstance(entry, Dropped)
    assert entry.reason is Drop.REPEATED_PREDICTOR


def test_of_attempts_with_one_answer_the_last_one_counts() -> None:
    calls = (
        call(outputs={"reasoning": "x", "category": "a", "confidence": 0.7}),
        call(call_id="c2", outputs={"reasoning": "y", "category": "a", "confidence": 0.9}),
    )
    entry = only(program(calls=calls, answer="A"), PROGRAM)
    assert isinstance(entry, Row)
    assert entry.call_id == "c2"
