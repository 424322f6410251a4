from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from distiller.dataset.build import build
from distiller.dataset.rows import ProgramSource, RenderError, training_files
from distiller.dataset.stored import DatasetError, load, read_traces, save
from distiller.dataset.values import Dataset, DatasetSpec, Drop, Source, Split
from distiller.trainer.rows import parse_lines
from programs import rows as program_rows
from programs.errors import ChildError
from programs.student_files import Skeleton
from tests.distiller.traces_in_store import METRIC, ROUTE, START, VERSION, Log

SPEC = DatasetSpec(
    route=ROUTE,
    program=False,
    program_version=VERSION,
    metric_hash=METRIC,
    cutoff=START + 1_000,
    min_rows=1,
    min_exam_rows=1,
)
PROGRAM = msgspec.structs.replace(SPEC, program=True)
SOURCE = ProgramSource(factory="app:make", user_dir="/nowhere")


@pytest.fixture
def log(tmp_path: Path) -> Log:
    log = Log(tmp_path / "limbeck.duckdb")
    log.source("crm", "all")
    return log


def fill(log: Log, *, call: dict[str, Any] | None = None) -> None:
    with log.opened():
        log.trace("exam question", "b", bucket=1, score=0.0, gold="a", call=call)
        log.trace("calibration question", "a", bucket=13, score=1.0, gold="a", call=call)
        log.trace("dev question", "a", bucket=25, score=1.0, call=call)
        log.trace("right answer", "a", score=1.0, call=call)
        log.trace("wrong answer", "b", score=0.0, gold="a", call=call)
        log.trace("wrong, nobody said so", "b", score=0.0, call=call)


def frozen(log: Log, spec: DatasetSpec = SPEC) -> Dataset:
    store = log.store()
    dataset = build(read_traces(store, spec), spec)
    assert isinstance(dataset, Dataset), dataset
    with store.transaction():
        save(store, dataset, now=START)
    store.close()
    return dataset


def test_a_frozen_dataset_is_made_again_exactly(log: Log) -> None:
    fill(log)
    dataset = frozen(log)
    store = log.store()
    again = load(store, dataset.dataset_id)
    store.close()
    assert again == dataset
    assert again.funnel.rows == {"exam": 1, "calibration": 1, "dev": 1, "train": 2}


def test_so_is_a_programs(log: Log) -> None:
    fill(log, call={"category": "b", "confidence": 0.4})
    dataset = frozen(log, PROGRAM)
    store = log.store()
    assert load(store, dataset.dataset_id) == dataset
    store.close()
    assert dataset.predictor == "classify"


def test_freezing_twice_stores_once(log: Log) -> None:
    fill(log)
    assert frozen(log).dataset_id == frozen(log).dataset_id
    assert log.sql("SELECT count(*) FROM datasets") == [(1,)]
    assert log.sql("SELECT count(*) FROM dataset_rows") == [(6,)]
    dropped = log.sql("SELECT dropped FROM dataset_rows WHERE dropped IS NOT NULL")
    assert dropped == [("below the pass score",)]


def test_what_happens_after_the_cutoff_changes_nothing(log: Log) -> None:
    fill(log)
    spec = msgspec.structs.replace(SPEC, cutoff=START + 6)
    before = frozen(log, spec)
    log.trace("a newer one", "a", score=1.0)
    log.sql(
        "INSERT INTO feedback (feedback_id, ts, trace_id, gold, source) "
        "SELECT uuid(), TIMESTAMP '2030-01-01', trace_id, '\"z\"', 'crm' FROM traces"
    )
    assert frozen(log, spec) == before


def test_a_lost_trace_is_noticed(log: Log) -> None:
    fill(log)
    dataset = frozen(log)
    log.sql("DELETE FROM traces WHERE text = 'right answer'")
    store = log.store()
    with pytest.raises(DatasetError, match="1 of its rows have lost their traces"):
        load(store, dataset.dataset_id)
    store.close()


def test_a_changed_trace_is_noticed(log: Log) -> None:
    fill(log)
    dataset = frozen(log)
    log.sql("UPDATE traces SET request = '{}' WHERE text = 'right answer'")
    store = log.store()
    with pytest.raises(DatasetError, match="is not what was frozen"):
        load(store, dataset.dataset_id)
    with pytest.raises(DatasetError, match="not in the store"):
        load(store, "d-none")
    store.close()


@pytest.mark.parametrize(("audited", "rows"), [(True, 1), (False, 0)])
def test_an_audit_label_counts_in_the_audit_sample_alone(
    log: Log, audited: bool, rows: int
) -> None:
    log.source("auditors", "audit")
    log.trace("train", "a", score=1.0)
    log.trace("labelled", "b", bucket=1, gold="a", source="auditors", audit=audited)
    spec = msgspec.structs.replace(SPEC, min_exam_rows=0)
    assert frozen(log, spec).funnel.rows["exam"] == rows


def test_the_newest_gold_of_the_best_coverage_counts(log: Log) -> None:
    log.trace("train", "a", score=1.0)
    trace_id = log.trace("exam", "b", bucket=1, gold="old")
    log.label(trace_id, gold="new", at=START + 20)
    log.label(trace_id, gold="volunteered", at=START + 30, source="anyone")
    (row,) = frozen(log).split(Split.EXAM)
    assert row.gold == '"new"'


def test_a_score_older_than_the_label_says_nothing(log: Log) -> None:
    texts = ["corrected", "refused", "agreed"]
    corrected, refused, agreed = (log.trace(text, "a", score=1.0) for text in texts)
    log.label(corrected, gold="b", at=START + 20)
    log.label(refused, confirmed=False, at=START + 20)
    log.label(agreed, gold="a", at=START + 20)

    def train() -> dict[str, tuple[Source, str]]:
        rows = frozen(log, msgspec.structs.replace(SPEC, min_exam_rows=0)).split(Split.TRAIN)
        return {row.inputs["text"]: (row.source, row.outputs["answer"]) for row in rows}

    right = (Source.CORRECTION, "b")
    assert train() == {"corrected": right, "agreed": (Source.CORRECTION, "a")}
    for trace_id, score in [(corrected, 0.0), (refused, 0.0), (agreed, 1.0)]:
        log.score(trace_id, score, at=START + 20)
    assert train() == {"corrected": right, "agreed": (Source.TEACHER, "a")}


async def test_plain_rows_are_the_applications_messages_and_the_answer(log: Log) -> None:
    fill(log)
    log.trace("with instructions", "a", score=1.0, system="Classify.")
    files = await training_files(frozen(log), "plain", program=None, render=_render)
    train = [json.loads(line) for line in files.train.splitlines()]
    assert train[-1] == {
        "messages": [
            {"role": "system", "content": "Classify."},
            {"role": "user", "content": "with instructions"},
            {"role": "assistant", "content": "a"},
        ],
        "inputs": {"text": "with instructions"},
        "outputs": {"answer": "a"},
        "split": "train",
        "weight": 1.0,
    }
    validation = [json.loads(line)["split"] for line in files.validation.splitlines()]
    assert validation == ["dev", "calibration"]
    assert b"exam question" not in files.train + files.validation


async def test_program_rows_are_rendered_by_the_program(log: Log) -> None:
    fill(log, call={"reasoning": "r", "category": "b", "confidence": 0.4})
    files = await training_files(frozen(log, PROGRAM), "json", program=SOURCE, render=_render)
    assert files.drop == ("reasoning",)
    rows = [json.loads(line) for line in files.train.splitlines()]
    assert rows[0]["messages"][-1]["content"] == "json:b"
    outputs = [row["outputs"] for row in rows]
    assert outputs == [
        {"category": "b", "confidence": 0.4},
        {"category": "a", "confidence": 1.0},
    ]


async def test_a_rendered_message_that_is_no_text_is_left_out_of_the_file(log: Log) -> None:
    with log.opened():
        for number in range(200):
            log.trace(f"question {'x' * number}", "a", score=1.0, call={"category": "a"})

    async def with_an_image(job: program_rows.Job) -> program_rows.Rendered:
        rendered = await _render(job)
        rendered.rows[7].messages[0]["content"] = [{"type": "image_url", "image_url": {}}]
        return rendered

    dataset = frozen(log, msgspec.structs.replace(PROGRAM, min_exam_rows=0))
    files = await training_files(dataset, "json", program=SOURCE, render=with_an_image)
    assert len(files.train.splitlines()) == 199
    assert len(list(parse_lines(files.train.splitlines()))) == 199


async def test_odd_requests_and_labels_leave_a_file_that_the_trainer_takes(log: Log) -> None:
    fill(log)
    call = {"role": "assistant", "content": None, "tool_calls": []}
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}
    for odd in (call, image):
        messages = [odd, {"role": "user", "content": "and this?"}]
        for bucket in (1, 13, 25, 50):
            request = json.dumps({"messages": messages})
            log.trace("and this?", "a", score=1.0, gold="a", bucket=bucket, request=request)
    log.trace("what should that be?", "b", score=0.0, gold=" ")
    dataset = frozen(log)
    assert dataset.funnel.rows == {"exam": 1, "calibration": 1, "dev": 1, "train": 2}
    assert dataset.funnel.dropped[Drop.NOT_TEXT] == 8
    files = await training_files(dataset, "plain", program=None, render=_render)
    for content in (files.train, files.validation):
        assert len(list(parse_lines(content.splitlines()))) == 2


async def test_a_program_that_can_not_render_says_why(log: Log) -> None:
    fill(log, call={"category": "b"})

    async def broken(job: program_rows.Job) -> program_rows.Rendered:
        raise ChildError(f'the rows of program "{job.factory}" could not be rendered: no module')

    async def odd(job: program_rows.Job) -> program_rows.Rendered:
        rendered = await _render(job)
        rows = [program_rows.RenderedRow(problem="missing outputs: x")] * len(rendered.rows)
        return program_rows.Rendered(head=rendered.head, rows=rows)

    dataset = frozen(log, PROGRAM)
    with pytest.raises(RenderError, match="no module"):
        await training_files(dataset, "json", program=SOURCE, render=broken)
    with pytest.raises(RenderError, match=r"4 of 4 rows .* missing outputs: x"):
        await training_files(dataset, "json", program=SOURCE, render=odd)


async def _render(job: program_rows.Job) -> program_rows.Rendered:
    """What the child answers for a program with the outputs of these tests."""
    rows = []
    for row in job.rows:
        outputs = {k: v for k, v in row.outputs.items() if k not in job.drop}
        messages = [
            {"role": "user", "content": row.inputs["text"]},
            {"role": "assistant", "content": f"{job.adapter}:{outputs['category']}"},
        ]
        rows.append(program_rows.RenderedRow(messages=messages, inputs=row.inputs, outputs=outputs))
    head = program_rows.Head(skeleton=Skeleton(), output_fields={}, drop=("reasoning",))
    return program_rows.Rendered(head=head, rows=rows)
