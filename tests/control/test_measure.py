"""What the metric is given is what a student is taught: one reading of gold, and of messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from control.measure import Answer, Measure
from distiller.chat import last_user_text
from distiller.dataset.label import label
from distiller.dataset.values import Call, DatasetSpec, Row, Trace
from distiller.student_server.request import parse_chat_request
from distiller.trainer.rows import parse_row
from programs.description import InputField, OutputField, ProgramDescription
from programs.metric_client import metric_for
from programs.metric_hash import metric_hash
from programs.score import Score
from tests.control.stored import ROUTE, config_of
from traces.chat import read_request, user_texts

FIELDS = {name: OutputField() for name in ("reasoning", "category", "confidence")}
PROGRAM = ProgramDescription(
    program_version="v1",
    input_fields={"text": InputField()},
    output_fields=FIELDS,
    predictors={},
    body={},
)


class Seen:
    """A metric that keeps what it is given."""

    async def check(self) -> None:
        return

    async def score(self, example: Mapping[str, Any], prediction: Mapping[str, Any]) -> Score:
        self.example, self.prediction = example, prediction
        return Score(value=1.0)

    async def close(self) -> None:
        return


async def seen(tmp_path: Path, answer: Answer, **route: Any) -> Seen:
    config = config_of(tmp_path, **route).routes[ROUTE]
    metric = Seen()
    describe = PROGRAM if config.program else None
    measure = Measure(config, metric, metric_hash="m", describe=lambda: describe)
    await measure.mark([answer])
    return metric


def learnt(answer: Answer, **spec: Any) -> Row:
    """The row of a trace that was answered wrongly."""
    program = spec.get("program", False)
    outputs = {"reasoning": "r", "category": "other", "confidence": 0.7}
    call = Call(
        trace_id="t", call_id="c", predictor="p", side="teacher",
        inputs={"text": "hi"}, outputs=outputs,
    )  # fmt: skip
    trace = Trace(
        trace_id="t", ts=1.0, state="done", status=200, finish="stop", served_by="teacher",
        program_version="", bucket=50, request=answer.request, answer=answer.answer,
        calls=(call,), gold=answer.gold, coverage="all", score=0.0,
    )  # fmt: skip
    rules = DatasetSpec(
        route=ROUTE, program_version="", metric_hash="m", cutoff=1.0, **{"program": False, **spec}
    )
    (row,) = label(trace, "p" if program else "answer", rules)
    assert isinstance(row, Row), row
    return row


def request(content: Any = "hi") -> str:
    return json.dumps({"model": ROUTE, "messages": [{"role": "user", "content": content}]})


@pytest.mark.parametrize("gold", ["refund", {"category": "refund"}, '{"category": "refund"}'])
async def test_gold_of_a_program_is_read_alike(tmp_path: Path, gold: Any) -> None:
    said = '{"category": "other", "confidence": 0.7}'
    answer = Answer(request=request(), answer=said, gold=json.dumps(gold))
    metric = await seen(tmp_path, answer, program="app:build", lm="up/m", teacher=None)
    assert metric.example["category"] == "refund"
    assert learnt(answer, program=True).outputs["category"] == "refund"


@pytest.mark.parametrize("rule", ["reject", "field:style"])
async def test_system_messages_reach_the_metric_as_they_reached_the_program(
    tmp_path: Path, rule: str
) -> None:
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]
    answer = Answer(request=json.dumps({"model": ROUTE, "messages": messages}), answer="{}")
    program = msgspec.structs.replace(
        PROGRAM, input_fields={"text": InputField(), "style": InputField(required=False)}
    )
    config = config_of(tmp_path, program="app:build", lm="up/m", teacher=None, system=rule)
    metric = Seen()
    measure = Measure(config.routes[ROUTE], metric, metric_hash="m", describe=lambda: program)
    (score,) = await measure.mark([answer])
    assert score.value == 1.0, score
    assert metric.example.get("style") == (None if rule == "reject" else "be kind")


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    ("request_", "answer", "gold"),
    [
        (f'{{"messages": [], "x": {nested(5000)}}}', "{}", None),
        (f'{{"messages": {nested(600)}}}', "{}", None),
        (request(), f'{{"x": {nested(600)}}}', None),
        (request(), "{}", f'{{"x": {nested(600)}}}'),
    ],
)
async def test_what_is_nested_too_deeply_is_not_scored(
    tmp_path: Path, request_: str, answer: str, gold: str | None
) -> None:
    """A turn that ended with an error instead would meet the same answer in the next one."""
    (tmp_path / "kind_metric.py").write_text("def m(example, prediction, trace=None): return 1.0\n")
    config = config_of(tmp_path, output="json", metric="kind_metric:m").routes[ROUTE]
    hashed = metric_hash("kind_metric:m", tmp_path)
    metric = metric_for("kind_metric:m", metric_hash=hashed, route=ROUTE, user_dir=tmp_path)
    measure = Measure(config, metric, metric_hash=hashed, describe=lambda: None)
    deep = Answer(request=request_, answer=answer, gold=gold)
    scores = await measure.mark([deep, Answer(request=request(), answer="{}")])
    await measure.close()
    assert [score.value for score in scores] == [None, 1.0]
    assert "nested too deeply" in str(scores[0].not_scored)


@pytest.mark.parametrize("gold", ["refund", {"answer": "refund"}])
async def test_gold_of_a_plain_route_is_read_alike(tmp_path: Path, gold: Any) -> None:
    answer = Answer(request=request(), answer="other", gold=json.dumps(gold))
    metric = await seen(tmp_path, answer)
    assert metric.example["answer"] == learnt(answer).outputs["answer"] == "refund"


@pytest.mark.parametrize("gold", [{"b": 1, "a": "x"}, '{"b":1,"a":"x"}'])
async def test_gold_of_a_plain_route_in_json_is_read_alike(tmp_path: Path, gold: Any) -> None:
    answer = Answer(request=request(), answer='{"a": "x", "b": 1}', gold=json.dumps(gold))
    metric = await seen(tmp_path, answer, output="json")
    taught = learnt(answer, as_json=True).outputs["answer"]
    assert metric.example["answer"] == metric.prediction["answer"] == taught
    assert (metric.example["a"], metric.prediction["a"]) == ("x", "x")


async def test_everybody_reads_the_same_text_of_a_message_in_parts(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": text} for text in ("where is", " my money")]
    answer = Answer(request=request(parts), answer="other", gold='"refund"')
    row = learnt(answer)
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": "refund"}]
    readers = {
        "collector": user_texts(read_request(answer.request.encode()).messages)[-1],
        "metric": (await seen(tmp_path, answer)).example["text"],
        "dataset": row.inputs["text"],
        "trainer": parse_row(json.dumps({"messages": messages}).encode()).inputs["text"],
        "student server": last_user_text(
            parse_chat_request(answer.request.encode()).question.messages
        ),
    }
    assert set(readers.values()) == {"where is my money"}, readers
