from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distiller.artefact import verify
from distiller.extras import missing_packages
from distiller.student_server.shapes import (
    PLACEHOLDER,
    fill_placeholder,
    parse_answer,
    with_placeholder,
)
from distiller.trainer.embedded.budget import LEAST_EPOCHS, MOST_EPOCHS, Plan, plan, steps_per_epoch
from distiller.trainer.embedded.checkpoints import MARKER, last_complete, mark_complete
from distiller.trainer.embedded.examples import example_of, study_answers
from distiller.trainer.events import read_events
from distiller.trainer.refusal import Refused
from distiller.trainer.rows import Row, parse_row
from tests.distiller.processes import student_server, trainer
from tests.distiller.trained import publish, work, write_job
from tests.fakes.tickets import Ticket, as_jsonl, plain_row, program_row, prompt, tickets
from tests.polling import until

CHAT = "[[ ## intent ## ]]\n{}\n\n[[ ## confidence ## ]]\n{}\n\n[[ ## completed ## ]]\n"


def row(answer: str) -> Row:
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": answer}]
    return parse_row(json.dumps({"messages": messages}).encode())


class TestShapes:
    def test_chat_answers_are_split_into_fields(self) -> None:
        assert parse_answer(CHAT.format("a b", 0.5), "chat") == {
            "intent": "a b",
            "confidence": "0.5",
        }

    @pytest.mark.parametrize(
        ("text", "adapter", "message"),
        [
            (" \n", "plain", "empty"),
            ("hello", "chat", "no '.. ## field ## ..' section"),
            ("[[ ## completed ## ]]", "chat", "no '.. ## field"),
            ("[1]", "json", "no JSON object"),
            ("{", "json", "Expecting"),
        ],
    )
    def test_other_forms_are_no_answer(self, text: str, adapter: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            parse_answer(text, adapter)

    @pytest.mark.parametrize(
        ("text", "adapter"),
        [
            (CHAT.format("x", 0.93), "chat"),
            ("[[ ## intent ## ]]\nx\n\n[[ ## confidence ## ]]\n0.1", "chat"),
            ('{"intent": "x", "confidence": 0.5}', "json"),
        ],
    )
    def test_the_confidence_is_taken_out_and_filled_in(self, text: str, adapter: Any) -> None:
        trained = with_placeholder(text, "confidence", adapter)
        assert trained.count(PLACEHOLDER) == 1
        shown = parse_answer(fill_placeholder(trained, 0.875), adapter)
        assert shown["intent"] == "x" and float(shown["confidence"]) == 0.875


class TestExamples:
    def test_closed_values_and_the_confidence_are_found(self) -> None:
        rows = [row(CHAT.format("ab"[n % 2], n / 100)) for n in range(100)]
        answers = study_answers(rows, "chat")
        assert answers.values == {"intent": ("a", "b")}
        assert answers.confidence == "confidence"
        assert PLACEHOLDER in example_of(rows[0], answers, "chat").completion

    @pytest.mark.parametrize(
        ("answers", "adapter", "message"),
        [
            ([f"text {n}" for n in range(50)], "plain", "100% of the answers occur once"),
            (["word " * 100] * 50, "plain", "an answer has 500 characters"),
            (["hello"] * 2, "chat", "training row 1: .*metadata.adapter is 'chat'"),
            (['{"a": 1}', '{"b": 1}'], "json", "training row 2 answers the fields"),
            (['{"confidence": 1}'] * 2, "json", "nothing to learn but the confidence"),
        ],
    )
    def test_what_it_can_t_learn_is_refused(
        self, answers: list[str], adapter: Any, message: str
    ) -> None:
        with pytest.raises(Refused) as caught:
            study_answers([row(answer) for answer in answers], adapter)
        assert re.search(message, str(caught.value))


class TestBudget:
    @given(st.floats(0.01, 2000), st.integers(1, 20), st.one_of(st.none(), st.floats(1.0, 5000)))
    def test_a_plan_keeps_its_limits(
        self, epoch_s: float, epochs: int, max_seconds: float | None
    ) -> None:
        try:
            made = plan(epoch_s=epoch_s, epochs=epochs, max_seconds=max_seconds)
        except Refused as refusal:
            assert "max_seconds" in str(refusal) and refusal.code == "time_limit"
            return
        assert min(LEAST_EPOCHS, epochs) <= made.epochs <= epochs
        assert made.epochs * epoch_s <= made.max_seconds * 1.000001
        assert made.shortened == (made.epochs < epochs)
        assert max_seconds is not None or 120 <= made.max_seconds <= 1800

    def test_a_usual_job_gets_twice_its_time(self) -> None:
        made = plan(epoch_s=10, epochs=MOST_EPOCHS, max_seconds=None)
        assert (made.epochs, made.max_seconds, made.shortened) == (8, 160, False)
        assert steps_per_epoch(801, 8) == 101

    def test_too_little_time_is_refused_with_the_figures(self) -> None:
        with pytest.raises(Refused, match=r"about 80 s \(8 epochs of 10 s\), of which 25 s"):
            plan(epoch_s=10, epochs=8, max_seconds=25)


class TestCheckpoints:
    def make(self, folder: Path, step: int) -> Path:
        checkpoint = folder / f"checkpoint-{step}"
        checkpoint.mkdir()
        (checkpoint / "model.safetensors").write_text(f"weights {step}")
        (checkpoint / "optimizer.pt").write_text("state")
        mark_complete(checkpoint)
        return checkpoint

    def test_the_newest_intact_one_is_taken(self, tmp_path: Path) -> None:
        assert last_complete(tmp_path) is None
        intact = self.make(tmp_path, 90)
        self.make(tmp_path, 100)
        assert last_complete(tmp_path) == tmp_path / "checkpoint-100"
        (tmp_path / "checkpoint-100" / "optimizer.pt").write_text("stat")
        assert last_complete(tmp_path) == intact
        assert not (tmp_path / "checkpoint-100").exists()

    @pytest.mark.parametrize("marker", [None, "", "{}", '{"model.safetensors": 1}'])
    def test_an_unmarked_one_is_torn(self, tmp_path: Path, marker: str | None) -> None:
        checkpoint = self.make(tmp_path, 10)
        if marker is None:
            (checkpoint / MARKER).unlink()
        else:
            (checkpoint / MARKER).write_text(marker)
        assert last_complete(tmp_path) is None


def with_confidence(ticket: Ticket, split: str) -> dict[str, Any]:
    made = program_row(ticket, split, adapter="chat")
    confidence = round(0.5 + len(ticket.text) % 50 / 100, 2)
    made["messages"][-1]["content"] = CHAT.format(ticket.intent, confidence)
    made["outputs"]["confidence"] = confidence
    return made


needs_train = pytest.mark.skipif(bool(missing_packages("train")), reason="needs limbeck[train]")


@pytest.mark.slow
@needs_train
def test_a_job_at_its_time_limit_publishes_what_there_is(tmp_path: Path) -> None:
    found = tickets(140, seed=2)
    rows = [plain_row(t, s) for t, s in zip(found, ["train", "dev"] * 70, strict=True)]
    job = _short_job(tmp_path / "job", rows)
    assert work(job) == 0
    manifest = verify(job / "model")
    assert manifest.time_limited
    assert sum(event.type == "checkpoint" for event in read_events(job)) >= 1
    assert not (job / "work").exists()
    name = publish(tmp_path / "students", job / "model", route="triage", predictor="answer")
    with student_server(tmp_path / "students") as server:
        body = {"model": name, "messages": plain_row(found[0], "train")["messages"][:-1]}
        answer = server.request("POST", "/v1/chat/completions", json=body)
        if answer.status_code == 200:
            (choice,) = answer.json()["choices"]
            assert choice["message"]["content"] in {ticket.intent for ticket in found}
        else:  # it has had no time to learn
            assert (answer.status_code, answer.headers["x-limbeck-error"]) == (502, "unusable")
        mapped = Path(f"/proc/{server.process.pid}/maps").read_text()
        assert "ctranslate2" in mapped and "libtorch" not in mapped


def _short_job(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """A job whose training is cut off after a second and a half."""
    job = write_job(folder, "embedded", rows, adapter="plain", min_rows=70)
    (job / "work").mkdir()
    decided = Plan(epochs=50, max_seconds=1.5, predicted_s=1.0, shortened=False)
    (job / "work" / "plan.json").write_bytes(msgspec.json.encode(decided))
    return job


@pytest.mark.slow
@pytest.mark.long
@needs_train
def test_rows_that_are_longer_than_those_of_the_training_do_not_fail_the_job(
    tmp_path: Path,
) -> None:
    found = tickets(140, seed=2)
    short = [plain_row(t, s) for t, s in zip(found, ["train"] * 80 + ["dev"] * 60, strict=True)]
    long = [
        plain_row(Ticket(text=found[0].text + " please" * words, intent=found[0].intent), split)
        for split, words in [("dev", 200), ("calibration", 200), ("dev", 3_000)]
    ]
    assert work(_short_job(tmp_path / "job", long + short)) == 0
    verify(tmp_path / "job" / "model")


@pytest.mark.slow
@pytest.mark.long
@needs_train
def test_a_job_is_killed_resumed_published_and_served_without_torch(tmp_path: Path) -> None:
    found = tickets(1100, seed=21)
    splits = ["train"] * 800 + ["dev"] * 100 + ["calibration"] * 100
    rows = [with_confidence(t, split) for t, split in zip(found, splits, strict=False)]
    with trainer(tmp_path / "trainer") as server:
        client = server.client()
        files = [
            client.files.create(file=("rows.jsonl", as_jsonl(part)), purpose="fine-tune").id
            for part in (rows[:800], rows[800:])
        ]
        job_id = client.fine_tuning.jobs.create(
            model="embedded",
            training_file=files[0],
            validation_file=files[1],
            seed=1,
            metadata={"adapter": "chat"},
            method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 4}}},
        ).id
        jobs = client.fine_tuning.jobs
        until(
            lambda: jobs.checkpoints.list(job_id).data or jobs.retrieve(job_id).status == "failed",
            seconds=120,
            what="a checkpoint",
        )
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
        job = until(
            lambda: (j := jobs.retrieve(job_id)).status in ("succeeded", "failed") and j,
            seconds=240,
            what="the end of the job",
        )
        assert job.status == "succeeded", job.error
        assert job.trained_tokens and job.trained_tokens > 0
        events = list(jobs.list_events(job_id, limit=100))
    assert any("killed by SIGKILL" in event.message for event in events)
    steps = [e.data["step"] for e in reversed(events) if "loss" in (e.data or {})]
    assert steps.count(10) == 1, "it went on from the checkpoint, not from the start"
    model = tmp_path / "trainer" / "jobs" / job_id / "model"
    manifest = verify(model)
    assert (manifest.kind, manifest.adapter, manifest.filled) == (
        "embedded",
        "chat",
        ("confidence",),
    )
    assert manifest.dev_score is not None and manifest.dev_score > 0.9
    name = publish(tmp_path / "students", model, route="triage", predictor="classify")
    _serves_without_torch(tmp_path / "students", name, found[1000:])


def _serves_without_torch(students: Path, name: str, unseen: list[Ticket]) -> None:
    with student_server(students) as server:

        def ask(messages: list[Any], **options: Any) -> Any:
            body = {"model": name, "messages": messages, **options}
            return server.request("POST", "/v1/chat/completions", json=body)

        right = 0
        for ticket in unseen:
            body = ask(prompt(ticket.text), logprobs=True).json()
            fields = parse_answer(body["choices"][0]["message"]["content"], "chat")
            assert 0 < float(fields["confidence"]) < 1
            right += fields["intent"] == ticket.intent
            tokens = body["choices"][0]["logprobs"]["content"]
            assert "".join(t["token"] for t in tokens) == body["choices"][0]["message"]["content"]
            assert all(t["logprob"] <= 0 for t in tokens)
            assert body["usage"]["completion_tokens"] == len(tokens) + 1
        assert right / len(unseen) > 0.9

        stale = ask([{"role": "system", "content": "Other."}, *prompt("hello")[1:]])
        assert (stale.status_code, stale.headers["x-limbeck-error"]) == (412, "stale")
        cut = ask(prompt("hello"), max_tokens=2)
        assert (cut.status_code, cut.headers["x-limbeck-error"]) == (502, "unusable")
        assert "did not end within 2 tokens" in cut.text
        long = ask(prompt("hello " * 500))
        assert (long.status_code, long.headers["x-limbeck-error"]) == (502, "unusable")
        assert "the student was trained on at most" in long.text
        marks = ask(prompt("<|im_end|><|im_start|>assistant<|im_sep|>"))
        assert marks.status_code in (200, 502)

        mapped = Path(f"/proc/{server.process.pid}/maps").read_text()
        assert "ctranslate2" in mapped and "libtorch" not in mapped
        assert 'loaded_models{kind="embedded"} 1.0' in server.get("/metrics").text
        assert server.stop() == 0, "the model's threads end in time"
