from __future__ import annotations

import json
import math
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai
import pytest

from distiller.artefact import Manifest, seal
from distiller.skeleton import Skeleton
from tests.distiller.processes import KEY, Server, student_server
from tests.distiller.trained import publish, work, write_job
from tests.fakes.tickets import INTENTS, Ticket, plain_row, program_row, prompt, tickets
from tests.polling import until

SYSTEM = "Answer with the intent of the customer's ticket."


@dataclass(frozen=True, kw_only=True)
class World:
    """A running server with two classifier students."""

    server: Server
    students: Path
    plain: str
    program: str

    def ask(self, model: str, messages: list[Any], **options: Any) -> httpx.Response:
        headers = options.pop("headers", {})
        body = {"model": model, "messages": messages, **options}
        return self.server.request("POST", "/v1/chat/completions", json=body, headers=headers)

    def ask_plain(self, text: str, **options: Any) -> httpx.Response:
        return self.ask(self.plain, plain(text), **options)


@pytest.fixture(scope="module")
def students(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    folder = tmp_path_factory.mktemp("students")
    found = tickets(500, seed=11)

    def confident(ticket: Ticket, split: str) -> dict[str, Any]:
        row = program_row(ticket, split)
        outputs = {"reasoning": ticket.text, "intent": ticket.intent, "confidence": 0.5}
        return {**row, "outputs": outputs, "inputs": {"text": ticket.text, "urgent": False}}

    makers: list[tuple[str, Callable[[Ticket, str], dict[str, Any]], Any]] = [
        ("plain", plain_row, "plain"),
        ("program", confident, "json"),
    ]
    for name, make, adapter in makers:
        rows = [make(t, s) for t, s in zip(found, ["train"] * 400 + ["dev"] * 100, strict=True)]
        assert work(write_job(folder / name, "classifier", rows, adapter=adapter)) == 0
    published = folder / "published"
    return (
        published,
        publish(published, folder / "plain" / "model", route="tickets-4.1"),
        publish(published, folder / "program" / "model", route="triage", predictor="step.classify"),
    )


@pytest.fixture(scope="module")
def world(students: tuple[Path, str, str]) -> Iterator[World]:
    folder, plain_model, program_model = students
    with student_server(folder) as server:
        yield World(server=server, students=folder, plain=plain_model, program=program_model)


def plain(text: str) -> list[Any]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]


def kind(response: httpx.Response) -> tuple[int, str | None]:
    return response.status_code, response.headers.get("x-limbeck-error")


class TestAnswers:
    def test_a_plain_route_gets_the_text(self, world: World) -> None:
        client = world.server.client()
        for ticket in tickets(40, seed=5):
            answer = client.chat.completions.create(
                model=world.plain, messages=plain(ticket.text), temperature=1.0
            )
            assert answer.choices[0].message.content in INTENTS
            assert answer.choices[0].finish_reason == "stop"
            assert answer.usage is not None and answer.usage.prompt_tokens > 0
            assert answer.model == world.plain

    def test_most_answers_are_right(self, world: World) -> None:
        found = tickets(100, seed=6)
        right = sum(
            world.ask_plain(t.text).json()["choices"][0]["message"]["content"] == t.intent
            for t in found
        )
        assert right >= 90

    def test_a_stream_says_the_same(self, world: World) -> None:
        client = world.server.client()
        text = "the lamp arrived broken"
        whole = client.chat.completions.create(model=world.plain, messages=plain(text))
        chunks = list(
            client.chat.completions.create(
                model=world.plain,
                messages=plain(text),
                stream=True,
                stream_options={"include_usage": True},
            )
        )
        said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert said == whole.choices[0].message.content == "damaged_item"
        assert chunks[-2].choices[0].finish_reason == "stop"
        assert chunks[-1].usage == whole.usage

    def test_logprobs_hold_the_calibrated_probability(self, world: World) -> None:
        sure = world.ask_plain("the lamp arrived broken", logprobs=True).json()
        unsure = world.ask_plain("well", logprobs=True).json()
        logprobs = [a["choices"][0]["logprobs"]["content"][0]["logprob"] for a in (sure, unsure)]
        assert math.log(0.8) < logprobs[0] < 0 and logprobs[1] < math.log(0.7)

    def test_content_may_come_in_parts(self, world: World) -> None:
        parts = [{"type": "text", "text": "the lamp "}, {"type": "text", "text": "arrived broken"}]
        messages = [*plain("")[:1], {"role": "user", "content": parts}]
        answer = world.ask(world.plain, messages).json()
        assert answer["choices"][0]["message"]["content"] == "damaged_item"

    def test_a_program_gets_json_with_the_confidence_filled_in(self, world: World) -> None:
        text = "the tent is scratched all over, it looks used"
        inputs = json.dumps({"text": text, "urgent": False, "other": 1})
        answer = world.ask(
            world.program,
            prompt(text),
            metadata={"limbeck_inputs": inputs},
            response_format={"type": "json_object"},
        ).json()
        outputs = json.loads(answer["choices"][0]["message"]["content"])
        assert list(outputs) == ["intent", "confidence"]
        assert outputs["intent"] == "damaged_item" and 0.5 < outputs["confidence"] <= 1


class TestDeclining:
    def test_a_changed_prompt_is_stale(self, world: World) -> None:
        messages = [{"role": "system", "content": SYSTEM + " Be brief."}, *plain("hello")[1:]]
        response = world.ask(world.plain, messages)
        assert kind(response) == (412, "stale")
        assert "system message differs" in response.json()["error"]["message"]

    def test_a_missing_line_is_stale(self, world: World) -> None:
        messages = [prompt("x")[0], {"role": "user", "content": "[[ ## text ## ]]\nhello"}]
        response = world.ask(world.program, messages, metadata={"limbeck_inputs": "{}"})
        assert kind(response) == (412, "stale")
        assert "1 line(s) of the training prompts are missing" in response.text

    @pytest.mark.parametrize("wanted", ["json_object", "json_schema"])
    def test_a_text_is_no_answer_where_json_is_asked_for(self, world: World, wanted: str) -> None:
        asked = {"type": wanted, "json_schema": {"name": "x", "schema": {"type": "object"}}}
        response = world.ask_plain("the lamp arrived broken", response_format=asked)
        assert kind(response) == (502, "unusable")
        assert "no JSON object" in response.json()["error"]["message"]
        response = world.ask_plain("the lamp arrived broken", response_format={"type": "text"})
        assert kind(response) == (200, None)

    @pytest.mark.parametrize(
        "name", ["tickets.answer@s1-0000", "../published", "a@b", "%2e%2e.x@y", "x" * 5000, "@", ""]
    )
    def test_an_unknown_model_is_404(self, world: World, name: str) -> None:
        assert kind(world.ask(name, plain("hello"))) == (404, "unknown_model")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"n": 2}, "n is 2"),
            ({"tools": [{"type": "function"}]}, "tools are given"),
            ({"messages": []}, "messages is empty"),
            ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "image_url"),
            ({"messages": plain(" ")}, "no text of the user"),
            ({"metadata": {"limbeck_inputs": "[1]"}}, "is no JSON object"),
            ({"metadata": {"limbeck_inputs": "{}"}}, "the inputs lack 'text'"),
            ({"messages": "hello"}, "Expected `array`"),
        ],
    )
    def test_bad_inputs_are_400(self, world: World, options: dict[str, Any], message: str) -> None:
        body = {"model": world.plain, "messages": plain("hello"), **options}
        response = world.server.request("POST", "/v1/chat/completions", json=body)
        assert kind(response) == (400, "bad_inputs")
        assert message in response.json()["error"]["message"]

    def test_a_program_needs_its_inputs(self, world: World) -> None:
        response = world.ask(world.program, prompt("hello"))
        assert kind(response) == (400, "bad_inputs")
        assert "limbeck_inputs is missing" in response.text

    def test_a_wrong_key_is_401(self, world: World) -> None:
        with pytest.raises(openai.AuthenticationError):
            world.server.client(key=KEY[1:]).models.list()


class TestLoad:
    def test_a_full_queue_is_429_and_a_deadline_is_kept(
        self, students: tuple[Path, str, str]
    ) -> None:
        folder, model, _ = students
        with student_server(folder, threads=1, queue=1) as server:
            world = World(server=server, students=folder, plain=model, program="")
            world.ask_plain("hello")
            answers: list[httpx.Response] = []
            long_text = " ".join(t.text for t in tickets(3000, seed=1)) * 8
            first = threading.Thread(target=lambda: answers.append(world.ask_plain(long_text)))
            first.start()
            until(lambda: opened(server) == 1, what="the first request to run")
            waiting = threading.Thread(
                target=lambda: answers.append(
                    world.ask_plain("hello", headers={"x-limbeck-deadline-ms": "1"})
                )
            )
            waiting.start()
            until(lambda: opened(server) == 2, what="the second request to wait")
            assert kind(world.ask_plain("hello")) == (429, "busy")
            first.join()
            waiting.join()
            assert {kind(answer) for answer in answers} == {(200, None), (429, "busy")}
            assert world.ask_plain("hello").status_code == 200

    def test_metrics_and_an_orderly_end(self, students: tuple[Path, str, str]) -> None:
        folder, model, _ = students
        with student_server(folder) as server:
            world = World(server=server, students=folder, plain=model, program="")
            world.ask_plain("hello")
            text = server.get("/metrics").text
            assert 'limbeck_student_server_requests_total{status="200"} 1.0' in text
            assert 'limbeck_student_server_loaded_models{kind="classifier"} 1.0' in text
            assert [m.id for m in server.client().models.list()] == sorted(students[1:])
            assert server.get("/healthz", headers={"authorization": ""}).json() == {"ok": True}
            mapped = Path(f"/proc/{server.process.pid}/maps").read_text()
            assert "ctranslate2" not in mapped and "torch" not in mapped
            assert server.stop() == 0


class TestDamage:
    @pytest.fixture
    def broken(
        self, students: tuple[Path, str, str], tmp_path: Path
    ) -> Iterator[tuple[World, Path]]:
        folder, model, program = students
        shutil.copytree(folder, tmp_path / "copy")
        with student_server(tmp_path / "copy", hidden="ctranslate2") as server:
            world = World(server=server, students=tmp_path / "copy", plain=model, program=program)
            yield world, next((tmp_path / "copy").glob("tickets*")) / "answer"

    def test_a_damaged_file_is_named(self, broken: tuple[World, Path]) -> None:
        world, folder = broken
        with (folder / "model.npz").open("r+b") as file:
            file.seek(200)
            file.write(b"xxxx")
        response = world.ask_plain("hello")
        assert kind(response) == (500, "error")
        assert "model.npz is damaged" in response.json()["error"]["message"]

    def test_a_manifest_of_another_version_is_named(self, broken: tuple[World, Path]) -> None:
        world, folder = broken
        manifest = json.loads((folder / "manifest.json").read_bytes())
        (folder / "manifest.json").write_text(json.dumps({**manifest, "schema": 9}))
        response = world.ask_plain("hello")
        assert kind(response) == (500, "error")
        assert "has schema 9, this version reads 1: upgrade limbeck" in response.text

    def test_an_embedded_student_needs_the_serve_extra(
        self, broken: tuple[World, Path], tmp_path: Path
    ) -> None:
        world, folder = broken
        model = tmp_path / "embedded"
        model.mkdir()
        (model / "generation.json").write_text("{}")
        known = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
        skeleton = Skeleton(system_sha256=None, lines=())
        seal(model, msgspec.structs.replace(known, kind="embedded", skeleton=skeleton))
        name = publish(world.students, model, route="small")
        response = world.ask(name, plain("hello"))
        assert kind(response) == (500, "error")
        assert "needs limbeck[serve]: not installed here: ctranslate2" in response.text


def opened(server: Server) -> float:
    lines = server.get("/metrics").text.splitlines()
    line = next(x for x in lines if x.startswith("limbeck_student_server_open_requests "))
    return float(line.split()[1])
