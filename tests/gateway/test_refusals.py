"""Requests that are not let in: keys, pins, unknown models, bad bodies and headers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from router.snapshot import AppKey, Upstream
from tests.fakes.upstream import FakeUpstream
from tests.gateway.rig import (
    HTTP,
    STUDENT,
    Rig,
    WorkerProcess,
    ask,
    keys,
    snapshot,
    student_route,
    teacher_route,
)
from tests.gateway.test_answers import HELLO

APP = {"authorization": "Bearer sk-app"}
PINNING = {"x-api-key": "sk-pin"}


@pytest.fixture(scope="module")
def worker(shared_rig: Rig, shared_upstream: FakeUpstream) -> Iterator[WorkerProcess]:
    unset = Upstream(base_url=shared_upstream.base_url, api_key_env="LIMBECK_TEST_UNSET_KEY")
    keyed = Upstream(base_url=shared_upstream.base_url, api_key_env="LIMBECK_TEST_KEY")
    routes = {
        "triage": student_route(),
        "unset": teacher_route(upstream="unset"),
        "keyed": teacher_route(upstream="keyed"),
    }
    shared_rig.publish(
        snapshot(
            shared_upstream.base_url,
            routes,
            keys=keys(sk_app=AppKey(name="app"), sk_pin=AppKey(name="pin", may_pin=True)),
            upstreams={"unset": unset, "keyed": keyed},
        )
    )
    yield shared_rig.start(env={"LIMBECK_TEST_KEY": "sk-of-the-upstream"})


def _refused(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    assert error["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["x-limbeck-inference-id"]
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["openai-processing-ms"].isdigit()
    return answer.status_code, error["type"], error["code"]


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic sk-app"}]
)
def test_a_missing_or_wrong_key(worker: WorkerProcess, headers: dict[str, str]) -> None:
    assert _refused(ask(worker, headers=headers)) == (
        401,
        "authentication_error",
        "invalid_api_key",
    )
    with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
        worker.openai("wrong").chat.completions.create(model="triage", messages=HELLO)


def test_the_right_key_in_either_header(worker: WorkerProcess) -> None:
    assert ask(worker, headers=APP).status_code == 200
    assert ask(worker, headers=PINNING).status_code == 200


@pytest.mark.parametrize("model", ["nothing", "nothing@teacher", "triage@nobody", "triage@", ""])
def test_an_unknown_model(worker: WorkerProcess, model: str) -> None:
    answer = ask(worker, model=model, headers=APP)
    assert _refused(answer) == (404, "invalid_request_error", "model_not_found")
    assert answer.json()["error"]["param"] == "model"


def test_a_body_that_is_no_json(worker: WorkerProcess) -> None:
    for body, code in ((b"hello", "invalid_json"), (b"{}", "invalid_body")):
        answer = HTTP.post(f"{worker.url}/v1/chat/completions", content=body, headers=APP)
        assert _refused(answer) == (400, "invalid_request_error", code)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-limbeck-no-log", "maybe"),
        ("x-limbeck-nolog", "true"),
        ("x-limbeck-pin", "nobody"),
        ("x-limbeck-timeout-ms", "soon"),
    ],
)
def test_a_wrong_header_of_ours(worker: WorkerProcess, name: str, value: str) -> None:
    answer = ask(worker, headers={**PINNING, name: value})
    assert _refused(answer) == (400, "invalid_request_error", "bad_header")
    assert answer.json()["error"]["param"] == name


@pytest.mark.parametrize(
    ("model", "pin", "served_by"),
    [
        ("triage", None, "student"),
        ("triage@teacher", None, "teacher"),
        (f"triage@{STUDENT}", None, "student"),
        ("triage", "teacher", "teacher"),
        ("triage", "student", "student"),
        ("triage", STUDENT, "student"),
        (f"triage@{STUDENT}", "student", "student"),
        # taken back, or of another day: a pin outlives its student
        ("triage@s9-ffff", None, "teacher"),
        ("triage", "s9-ffff", "teacher"),
    ],
)
def test_pins(worker: WorkerProcess, model: str, pin: str | None, served_by: str) -> None:
    headers = PINNING if pin is None else {**PINNING, "x-limbeck-pin": pin}
    answer = ask(worker, model=model, headers=headers)
    assert answer.headers["x-limbeck-served-by"] == served_by
    text = answer.json()["choices"][0]["message"]["content"]
    assert text == f"{served_by}-model: hello"
    pinned = pin is not None or "@" in model
    assert answer.headers["x-limbeck-route-reason"] == ("pin" if pinned else "rollout")


def test_pins_that_contradict_each_other(worker: WorkerProcess) -> None:
    answer = ask(worker, model="triage@teacher", headers={**PINNING, "x-limbeck-pin": "student"})
    assert _refused(answer) == (400, "invalid_request_error", "bad_header")


@pytest.mark.parametrize(
    "more", [{"model": "triage@teacher"}, {"headers": {"x-limbeck-pin": "teacher"}}]
)
def test_a_key_that_may_not_pin(worker: WorkerProcess, more: dict[str, Any]) -> None:
    answer = ask(worker, **{**more, "headers": {**APP, **more.get("headers", {})}})
    assert _refused(answer) == (403, "permission_error", "pin_not_allowed")


def test_an_upstreams_key_comes_from_the_environment(
    worker: WorkerProcess, shared_upstream: FakeUpstream
) -> None:
    assert ask(worker, model="keyed", headers=APP).status_code == 200
    assert shared_upstream.received[-1].headers["authorization"] == "Bearer sk-of-the-upstream"
    assert ask(worker, model="triage", headers={**APP, **PINNING}).status_code == 200
    received = shared_upstream.received[-1].headers
    assert "authorization" not in received
    assert "x-api-key" not in received


def test_a_missing_upstream_key_is_named(worker: WorkerProcess) -> None:
    answer = ask(worker, model="unset", headers=APP)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (502, "missing_api_key")
    assert "LIMBECK_TEST_UNSET_KEY" in error["message"]
    assert "LIMBECK_TEST_UNSET_KEY" in worker.log.read_text()


def test_what_is_refused_is_not_recorded(shared_rig: Rig, worker: WorkerProcess) -> None:
    before = len(shared_rig.frames())
    ask(worker, headers={"authorization": "Bearer wrong"})
    ask(worker, model="nothing", headers=APP)
    assert len(shared_rig.frames()) == before
