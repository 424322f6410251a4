"""Real program hosts, student's side: own prompts, own signature, and statuses passed through."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from tests.fakes import lm
from tests.fakes.lm import Upstream
from tests.programs.hosts import KEY, Host, content, running_host
from tests.programs.students import publish


class Setup(NamedTuple):
    """A host with one student of one program."""

    host: Host
    student: str


class Fakes(NamedTuple):
    """The teacher's upstream and the student server."""

    teacher: Upstream
    students: Upstream


Setups = Callable[..., Setup]


@pytest.fixture(scope="module")
def fakes() -> Iterator[Fakes]:
    with lm.upstream(lm.teacher) as teacher, lm.upstream(lm.student) as students:
        yield Fakes(teacher, students)


@pytest.fixture(scope="module")
def setups(fakes: Fakes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setups]:
    """Hosts by factory, each started once for the module."""
    started: dict[str, Setup] = {}
    with ExitStack() as stack:

        def get(factory: str, predictor: str) -> Setup:
            if factory not in started:
                folder = tmp_path_factory.mktemp(factory.rpartition(":")[2])
                host = stack.enter_context(
                    running_host(
                        folder,
                        factory,
                        fakes.teacher.base_url,
                        side="student",
                        student_server=fakes.students.base_url,
                    )
                )
                started[factory] = Setup(host, publish(host.students, factory, predictor))
            return started[factory]

        yield get


def test_a_student_is_asked_with_its_own_prompt_and_the_inputs_beside_it(
    setups: Setups, fakes: Fakes
) -> None:
    host, model = setups("triage:classify", "predict")
    trace = str(uuid.uuid4())
    response = host.ask("lost card", model=model, trace=trace)
    assert json.loads(content(response)) == {"category": "student's <lost card>", "confidence": 0.5}
    assert "reasoning_content" not in response.json()["choices"][0]["message"]
    sent = fakes.students.requests[-1]
    assert sent["model"] == "triage.predict@s1-aaaa"
    assert sent["temperature"] == 0
    assert json.loads(sent["metadata"]["limbeck_inputs"]) == {"text": "lost card"}
    assert "Respond with a JSON object" in sent["messages"][-1]["content"]
    assert "reasoning" not in str(sent["messages"])
    assert fakes.students.headers[-1]["authorization"] == f"Bearer {KEY}"
    (call,) = host.calls(trace)
    assert (call.side, call.model) == ("s1-aaaa", "triage.predict@s1-aaaa")
    assert call.program_version == "v-of-the-training"
    assert call.outputs == {"category": "student's <lost card>", "confidence": 0.5}


def test_predictors_without_a_student_stay_on_the_teacher(setups: Setups, fakes: Fakes) -> None:
    host, model = setups("triage:Support", "classify.predict")
    before = len(fakes.teacher.requests)
    answer = json.loads(content(host.ask("hello", model=model)))
    assert answer == {"category": "student's <hello>", "answer": "answer of <hello>"}
    (asked,) = fakes.teacher.requests[before:]
    assert asked["model"] == "frontier/model-1"
    assert "category" in asked["messages"][-1]["content"]


def test_an_asynchronous_program(setups: Setups) -> None:
    host, model = setups("triage:AsyncSupport", "classify")
    assert json.loads(content(host.ask("hi", model=model)))["category"] == "student's <hi>"


def test_a_factory_that_configures_dspy(setups: Setups) -> None:
    host, model = setups("triage:configures", "self")
    assert json.loads(content(host.ask("hi", model=model)))["category"] == "student's <hi>"


@pytest.mark.parametrize(
    ("status", "answered", "kind"),
    [
        (412, 412, "stale"),
        (502, 502, "unusable"),
        (429, 429, "busy"),
        (404, 404, "unknown_model"),
        (500, 500, "error"),
        (503, 503, "unavailable"),
    ],
)
@pytest.mark.parametrize(
    "program", [("triage:classify", "predict"), ("triage:Forgiving", "classify")]
)
def test_the_student_servers_statuses_pass_through_and_nothing_is_asked_twice(
    setups: Setups,
    fakes: Fakes,
    program: tuple[str, str],
    status: int,
    answered: int,
    kind: str,
) -> None:
    host, model = setups(*program)
    asked = len(fakes.students.requests), len(fakes.teacher.requests)
    response = host.ask(f"student {status}", model=model)
    assert (response.status_code, response.headers["x-limbeck-error"]) == (answered, kind)
    assert response.headers["x-limbeck-tools-ran"] == "0"
    assert (len(fakes.students.requests), len(fakes.teacher.requests)) == (asked[0] + 1, asked[1])


def test_an_answer_that_cannot_be_read_is_502_and_not_asked_again(
    setups: Setups, fakes: Fakes
) -> None:
    host, model = setups("triage:Forgiving", "classify")
    before = len(fakes.students.requests)
    response = host.ask("garbage", model=model)
    assert (response.status_code, response.headers["x-limbeck-error"]) == (502, "unusable")
    assert len(fakes.students.requests) == before + 1


def test_a_dead_student_server_is_no_fault_of_the_program(setups: Setups, fakes: Fakes) -> None:
    with lm.upstream(lm.student) as gone:
        address = gone.base_url
    with running_host(
        setups("triage:classify", "predict").host.spool.parent / "dead",
        "triage:classify",
        fakes.teacher.base_url,
        side="student",
        student_server=address,
    ) as host:
        model = publish(host.students, "triage:classify", "predict")
        response = host.ask("hi", model=model)
    assert (response.status_code, response.headers["x-limbeck-error"]) == (503, "unavailable")


def test_a_changed_prompt_is_stale_before_anybody_is_asked(setups: Setups, fakes: Fakes) -> None:
    host, _ = setups("triage:classify", "predict")
    other = {"system_sha256": "0" * 64, "lines": []}
    model = publish(host.students, "triage:classify", "predict", student="s2-bbbb", skeleton=other)
    gone = publish(host.students, "triage:classify", "gone", student="s3-cccc", skeleton=other)
    before = len(fakes.students.requests)
    for name in (model, model, gone):
        response = host.ask("hi", model=name)
        assert (response.status_code, response.headers["x-limbeck-error"]) == (412, "stale")
        assert response.headers["x-limbeck-tools-ran"] == "0"
    assert len(fakes.students.requests) == before


def test_a_system_text_that_varied_in_training_binds_nothing(setups: Setups) -> None:
    host, _ = setups("triage:classify", "predict")
    free = {"system_sha256": None, "lines": []}
    model = publish(host.students, "triage:classify", "predict", student="s4-dddd", skeleton=free)
    assert json.loads(content(host.ask("hi", model=model)))["category"] == "student's <hi>"


def test_a_chat_student_answers_in_chat_format(setups: Setups, fakes: Fakes) -> None:
    host, _ = setups("triage:classify", "predict")
    model = publish(host.students, "triage:classify", "predict", student="s5-eeee", adapter="chat")
    reply = fakes.students.reply
    fakes.students.reply = lambda body: (
        200,
        "[[ ## category ## ]]\nlost\n\n[[ ## confidence ## ]]\n0.9\n\n[[ ## completed ## ]]",
    )
    try:
        answer = content(host.ask("hi", model=model))
    finally:
        fakes.students.reply = reply
    assert json.loads(answer) == {"category": "lost", "confidence": 0.9}


def test_models_are_those_of_the_folder(setups: Setups) -> None:
    host, model = setups("triage:AsyncSupport", "classify")
    listed = [one["id"] for one in host.client.get("/v1/models").json()["data"]]
    assert listed == [model]
    for unknown in ("triage@s9-ffff", "triage@teacher", "other@s1-aaaa", "triage@../s1", "s1-aaaa"):
        response = host.ask("hi", model=unknown)
        assert (response.status_code, response.headers["x-limbeck-error"]) == (404, "unknown_model")


def test_a_damaged_student_is_500_and_names_its_file(setups: Setups) -> None:
    host, _ = setups("triage:AsyncSupport", "classify")
    folder = host.students / "triage@s8-0000"
    folder.mkdir()
    (folder / "student.json").write_text("{")
    response = host.ask("hi", model="triage@s8-0000")
    assert response.status_code == 500
    assert "student.json cannot be read" in response.json()["error"]["message"]
