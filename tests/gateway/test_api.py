"""Everything but chat completions: models, feedback, health, metrics."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from router.snapshot import AppKey
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
from tests.polling import until
from traces.record import Feedback

KEY = {"authorization": "Bearer sk-app"}
#: one that no trace has, yet
INFERENCE = "01a1f8f3-287a-7800-a30e-45fb05288400"


@pytest.fixture(scope="module")
def worker(shared_rig: Rig, shared_upstream: FakeUpstream) -> Iterator[WorkerProcess]:
    routes = {"triage": student_route(), "team/plain": teacher_route()}
    shared_rig.publish(
        snapshot(shared_upstream.base_url, routes, keys=keys(sk_app=AppKey(name="app")))
    )
    yield shared_rig.start()


def _get(worker: WorkerProcess, path: str, **headers: str) -> httpx.Response:
    return HTTP.get(f"{worker.url}{path}", headers={**KEY, **headers})


def test_routes_are_models(worker: WorkerProcess) -> None:
    client = worker.openai("sk-app")
    assert [model.id for model in client.models.list()] == ["team/plain", "triage"]
    for name in ("triage", "team/plain", "triage@teacher", f"triage@{STUDENT}"):
        assert client.models.retrieve(name).id == name
    with pytest.raises(openai.NotFoundError, match="limbeck serves: team/plain, triage"):
        client.models.retrieve("nothing")
    with pytest.raises(openai.AuthenticationError):
        worker.openai("wrong").models.list()


@pytest.mark.parametrize("path", ["/v1/feedback", "/feedback"])
def test_feedback_is_appended_to_the_spool(
    shared_rig: Rig, worker: WorkerProcess, path: str
) -> None:
    item = {"inference_id": INFERENCE, "gold": {"label": "billing"}, "source": "crm"}
    answer = HTTP.post(f"{worker.url}{path}", json=item, headers=KEY)
    assert answer.status_code == 202
    feedback_id = answer.json()["feedback_id"]
    frames = [
        (header, request)
        for header, request, _ in shared_rig.frames()
        if isinstance(header, Feedback) and header.feedback_id == feedback_id
    ]
    ((header, request),) = frames
    assert header.key_name == "app"
    assert json.loads(request) == item


@pytest.mark.parametrize(
    "item",
    [
        {"inference_id": INFERENCE, "metric": "correct", "value": True},
        {"episode_id": "a", "metric_name": "score", "value": 0.5, "tags": {"who": "me"}},
        {"inference_id": INFERENCE, "metric_name": "demonstration", "value": "the right text"},
        {"inference_id": INFERENCE, "confirmed": True},
        {"inference_id": INFERENCE, "confirmed": False},
        {"inference_id": INFERENCE, "gold": "x", "comment": "why", "source": "crm"},
        {"inference_id": INFERENCE, "comment": "only words"},
        {"inference_id": INFERENCE, "metric": "score", "value": 0},
    ],
)
def test_good_feedback(worker: WorkerProcess, item: dict[str, Any]) -> None:
    answer = HTTP.post(f"{worker.url}/v1/feedback", json=item, headers=KEY)
    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"no JSON", "not valid JSON"),
        (b"{}", "exactly one of"),
        (b'{"inference_id": "%s", "episode_id": "b", "gold": 1}', "exactly one of"),
        (b'{"inference_id": "%s"}', "says nothing"),
        (b'{"inference_id": "%s", "metric": "m"}', "belong together"),
        (b'{"inference_id": "%s", "value": 1}', "belong together"),
        (b'{"inference_id": "%s", "metric": "m", "metric_name": "m", "value": 1}', "not both"),
        (b'{"inference_id": "%s", "golden": 1}', "golden"),
        (b'{"inference_id": 5, "gold": 1}', "inference_id"),
        (b'{"inference_id": "chatcmpl-1", "gold": 1}', "x-limbeck-inference-id"),
        (b'{"inference_id": "%s", "confirmed": "yes"}', "confirmed"),
    ],
)
def test_bad_feedback_is_a_400(worker: WorkerProcess, body: bytes, message: str) -> None:
    content = body.replace(b"%s", INFERENCE.encode())
    answer = HTTP.post(f"{worker.url}/v1/feedback", content=content, headers=KEY)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert message in error["message"]
    assert error["code"] == ("invalid_json" if body == b"no JSON" else "invalid_body")
    assert answer.headers["x-should-retry"] == "false"


def test_feedback_has_a_largest_size(worker: WorkerProcess) -> None:
    item = {"inference_id": INFERENCE, "comment": "x" * 2_000_000}
    answer = HTTP.post(f"{worker.url}/v1/feedback", json=item, headers=KEY)
    assert answer.status_code == 413


def test_feedback_that_breaks_off_is_no_fault_of_the_gateway(
    rig: Rig, upstream: FakeUpstream
) -> None:
    rig.publish(snapshot(upstream.base_url))
    worker = rig.start()
    with socket.create_connection(("127.0.0.1", worker.settings.port)) as connection:
        connection.sendall(b"POST /v1/feedback HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
    assert ask(worker).status_code == 200
    assert worker.stop() == 0
    assert "Traceback" not in worker.log.read_text()


def test_health_without_a_key(worker: WorkerProcess) -> None:
    for path in ("/healthz", "/health/liveness"):
        assert HTTP.get(f"{worker.url}{path}").json() == {"ok": True}
    for path in ("/readyz", "/health/readiness"):
        ready = HTTP.get(f"{worker.url}{path}")
        assert (ready.status_code, ready.json()["state"]) == (200, "ready")


def test_not_ready_before_a_snapshot(rig: Rig, upstream: FakeUpstream) -> None:
    worker = rig.start()
    ready = HTTP.get(f"{worker.url}/readyz")
    assert (ready.status_code, ready.json()["state"]) == (503, "no_snapshot")
    assert _get(worker, "/v1/models").status_code == 503
    rig.publish(snapshot(upstream.base_url))
    until(lambda: HTTP.get(f"{worker.url}/readyz").status_code == 200, what="readiness")


def test_the_status_is_for_people(worker: WorkerProcess) -> None:
    status = HTTP.get(f"{worker.url}/status").json()
    assert (status["worker"], status["state"], status["snapshot_version"]) == ("w1", "ready", 1)
    assert status["routes"] == ["team/plain", "triage"]
    assert status["leased"] is True


def test_metrics(worker: WorkerProcess) -> None:
    line = (
        'limbeck_requests_total{reason="rollout",route="triage",served_by="student",status="200"}'
    )
    before = worker.metric(line)
    assert ask(worker, headers=KEY).status_code == 200
    assert worker.metric(line) == before + 1
    text = HTTP.get(f"{worker.url}/metrics")
    assert text.headers["content-type"].startswith("text/plain")
    assert worker.metric('limbeck_request_seconds_count{route="triage"}') >= 1
    assert worker.metric('limbeck_request_seconds_bucket{le="+Inf",route="triage"}') >= 1
    assert worker.metric('limbeck_upstream_connections{state="idle",upstream="up"}') >= 1
    assert worker.metric('limbeck_snapshot_version{worker="w1"}') == 1
    assert ask(worker, headers={"authorization": "Bearer wrong"}).status_code == 401
    assert HTTP.get(f"{worker.url}/v1/chat/completions").status_code == 405
    refused = 'limbeck_requests_total{reason="refused",route="",served_by="gateway",status="%d"}'
    assert worker.metric(refused % 401) == 1
    assert worker.metric(refused % 405) == 1
    assert worker.metric('limbeck_request_seconds_count{route=""}') == 0
    names = set(re.findall(r"^# TYPE (\w+)", text.text, re.MULTILINE))
    assert all(name.startswith("limbeck_") for name in names)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/embeddings", 404),
        ("GET", "/", 404),
        ("DELETE", "/v1/models", 405),
    ],
)
def test_unknown_endpoints_answer_in_openais_form(
    worker: WorkerProcess, method: str, path: str, status: int
) -> None:
    answer = HTTP.request(method, f"{worker.url}{path}", headers={"x-request-id": "mine"})
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["request_id"] == answer.headers["x-request-id"] == "mine"
