"""What the spool holds after a request."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from router.snapshot import AppKey
from tests.fakes.upstream import FakeUpstream
from tests.gateway.rig import (
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
from traces.record import RequestEnd, RequestStart

KEY = {"authorization": "Bearer sk-app"}


@pytest.fixture(scope="module")
def worker(shared_rig: Rig, shared_upstream: FakeUpstream) -> Iterator[WorkerProcess]:
    routes = {
        "triage": student_route(
            weight=0.5, stage="R50", program_version="pv", metric_hash="mh", audit_rate=1.0
        ),
        "plain": teacher_route(),
    }
    shared_rig.publish(
        snapshot(
            shared_upstream.base_url,
            routes,
            version=7,
            keys=keys(sk_app=AppKey(name="app")),
            passthrough="up",
        )
    )
    yield shared_rig.start("w7")


def _by_trace(rig: Rig, trace_id: str) -> tuple[RequestEnd, bytes, bytes]:
    found = [
        (header, request, response)
        for header, request, response in rig.frames()
        if isinstance(header, RequestEnd) and header.trace_id == trace_id
    ]
    assert len(found) == 1
    return found[0]


def test_an_end_frame_is_self_contained(shared_rig: Rig, worker: WorkerProcess) -> None:
    before = time.time()
    answer = ask(
        worker,
        user="user-1",
        metadata={"session_id": "conversation-1"},
        headers={
            **KEY,
            "x-limbeck-no-shadow": "true",
            "x-limbeck-tags": "team=a",
            "x-stainless-retry-count": "1",
        },
    )
    end, request, response = _by_trace(shared_rig, answer.headers["x-limbeck-inference-id"])
    assert json.loads(request)["model"] == "triage"
    assert response == answer.content
    assert end.worker == "w7"
    assert before <= end.ts_us / 1e6 <= time.time()
    assert (end.model, end.route, end.key_name) == ("triage", "triage", "app")
    assert end.served_by == answer.headers["x-limbeck-served-by"]
    assert end.student == (STUDENT if end.served_by == "student" else None)
    assert end.upstream_model == f"{end.served_by}-model"
    assert (end.stage, end.weight, end.propensity) == ("R50", 0.5, 0.5)
    assert (end.reason, end.audit, end.audit_propensity) == ("rollout", True, 1.0)
    assert (end.status, end.finish, end.stream) == (200, "stop", False)
    assert (end.conversation_id, end.user) == ("conversation-1", "user-1")
    assert (end.no_shadow, end.retry, end.tags) == (True, True, "team=a")
    assert (end.snapshot_version, end.config_hash) == (7, "c0ffee")
    assert (end.program_version, end.metric_hash) == ("pv", "mh")
    assert end.content_type == "application/json"
    assert 0 < end.latency_us < 10_000_000


def test_a_stream_is_recorded_whole(shared_rig: Rig, worker: WorkerProcess) -> None:
    answer = ask(worker, "plain", stream=True, headers=KEY)
    end, _, response = _by_trace(shared_rig, answer.headers["x-limbeck-inference-id"])
    assert response == answer.content
    assert end.stream
    assert end.content_type.startswith("text/event-stream")
    assert end.ttft_us is not None
    assert 0 < end.ttft_us <= end.latency_us


@pytest.mark.parametrize("fake", ["gap=0.05;events=3", "gap=0"])
def test_a_frame_is_there_before_the_client_reads_the_end(
    shared_rig: Rig, worker: WorkerProcess, fake: str
) -> None:
    body = {"model": "plain", "messages": [], "stream": True, "metadata": {"fake": fake}}
    with httpx.stream(
        "POST", f"{worker.url}/v1/chat/completions", json=body, headers=KEY
    ) as answer:
        for line in answer.iter_lines():
            if line == "data: [DONE]":
                trace_id = answer.headers["x-limbeck-inference-id"]
                assert shared_rig.end(trace_id).finish == "stop"
                return
    raise AssertionError("no [DONE]")


def test_a_model_that_passes_through_is_recorded(shared_rig: Rig, worker: WorkerProcess) -> None:
    answer = ask(worker, "other-model", headers=KEY)
    end = shared_rig.end(answer.headers["x-limbeck-inference-id"])
    assert (end.model, end.route, end.upstream, end.upstream_model) == (
        "other-model",
        "",
        "up",
        "other-model",
    )


def test_a_failed_request_is_recorded(shared_rig: Rig, worker: WorkerProcess) -> None:
    answer = ask(worker, "plain", metadata={"fake": "drop=request"}, headers=KEY)
    end, _, response = _by_trace(shared_rig, answer.headers["x-limbeck-inference-id"])
    assert (end.status, end.finish) == (502, "upstream_lost")
    assert response == answer.content
    answer = ask(worker, "plain", metadata={"fake": "status=400"}, headers=KEY)
    end = shared_rig.end(answer.headers["x-limbeck-inference-id"])
    assert (end.status, end.finish) == (400, "refused")
    late = {**KEY, "x-limbeck-timeout-ms": "150"}
    answer = ask(worker, "plain", metadata={"fake": "hang"}, headers=late)
    end = shared_rig.end(answer.headers["x-limbeck-inference-id"])
    assert (end.status, end.finish) == (504, "client_timeout")


def test_a_broken_stream_is_recorded_as_far_as_it_came(
    shared_rig: Rig, worker: WorkerProcess
) -> None:
    answer = ask(worker, "plain", stream=True, metadata={"fake": "drop=body"}, headers=KEY)
    end, _, response = _by_trace(shared_rig, answer.headers["x-limbeck-inference-id"])
    assert (end.status, end.finish) == (200, "upstream_lost")
    assert response
    assert answer.content.startswith(response)


def test_an_upstreams_own_words_are_recorded(shared_rig: Rig, worker: WorkerProcess) -> None:
    answer = ask(worker, "plain", metadata={"fake": "status=403;plain"}, headers=KEY)
    end, _, response = _by_trace(shared_rig, answer.headers["x-limbeck-inference-id"])
    assert (end.status, end.finish, end.content_type) == (403, "refused", "text/html")
    assert response == b"<h1>Bad gateway</h1>"


def test_an_encoded_answer_is_marked(shared_rig: Rig, worker: WorkerProcess) -> None:
    answer = ask(worker, "plain", metadata={"fake": "gzip"}, headers=KEY)
    end = shared_rig.end(answer.headers["x-limbeck-inference-id"])
    assert end.content_type == "application/json; content-encoding=gzip"


def test_who_opts_out_is_not_recorded(shared_rig: Rig, worker: WorkerProcess) -> None:
    line = 'limbeck_requests_total{reason="default",route="plain",served_by="teacher",status="200"}'
    counted, frames = worker.metric(line), len(shared_rig.frames())
    assert ask(worker, "plain", store=False, headers=KEY).status_code == 200
    no_log = {**KEY, "x-limbeck-no-log": "true"}
    assert ask(worker, "plain", headers=no_log).status_code == 200
    slow = {"fake": "delay=1.3"}
    assert ask(worker, "plain", store=False, metadata=slow, headers=KEY).status_code == 200
    assert worker.metric(line) == counted + 3
    assert len(shared_rig.frames()) == frames
    assert ask(worker, "plain", store=True, headers=KEY).status_code == 200
    assert len(shared_rig.frames()) == frames + 1


def test_a_slow_request_has_a_start_frame(shared_rig: Rig, worker: WorkerProcess) -> None:
    answer = ask(worker, "plain", metadata={"fake": "delay=1.3"}, headers=KEY)
    trace_id = answer.headers["x-limbeck-inference-id"]
    starts = [
        (header, request)
        for header, request, _ in shared_rig.frames()
        if isinstance(header, RequestStart) and header.trace_id == trace_id
    ]
    ((start, request),) = starts
    assert json.loads(request)["model"] == "plain"
    assert start.deadline_us == start.ts_us + 600 * 1_000_000
    assert shared_rig.end(trace_id).ts_us == start.ts_us
    fast = ask(worker, "plain", headers=KEY).headers["x-limbeck-inference-id"]
    headers = [header for header, _, _ in shared_rig.frames()]
    assert not any(isinstance(h, RequestStart) and h.trace_id == fast for h in headers)


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_client_that_leaves_ends_the_upstreams_work(
    shared_rig: Rig, worker: WorkerProcess, shared_upstream: FakeUpstream, stream: bool
) -> None:
    cancelled, ends = shared_upstream.cancelled, len(shared_rig.ends())
    fake = "stall;events=4" if stream else "hang"
    body = json.dumps(
        {"model": "plain", "messages": [], "stream": stream, "metadata": {"fake": fake}}
    )
    head = f"authorization: Bearer sk-app\r\ncontent-length: {len(body)}"
    with socket.create_connection(("127.0.0.1", worker.settings.port)) as connection:
        connection.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n{body}".encode()
        )
        if stream:
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        else:
            until(lambda: b"hang" in shared_upstream.received[-1].body, what="the request")
    until(lambda: shared_upstream.cancelled > cancelled, what="the cancelled upstream")
    until(lambda: len(shared_rig.ends()) > ends, what="the frame")
    end = shared_rig.ends()[-1]
    assert (end.status, end.finish) == (499, "client_disconnect")


def test_what_a_student_said_is_not_the_teachers_answer(rig: Rig, upstream: FakeUpstream) -> None:
    """Its client leaves while the teacher works, after the student failed."""
    rig.publish(snapshot(upstream.base_url, {"triage": student_route(student_deadline_s=60.0)}))
    worker = rig.start()
    fake = {"fake:student-model": "status=500", "fake": "hang"}
    body = json.dumps({"model": "triage", "messages": [], "metadata": fake})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", worker.settings.port)) as connection:
        connection.sendall(f"{head}{body}".encode())
        until(lambda: upstream.models() == ["student-model", "teacher-model"], what="the teacher")
    ((end, _, response),) = until(rig.frames, what="the frame")
    assert isinstance(end, RequestEnd)
    assert (end.served_by, end.fallback, end.finish) == ("teacher", "status", "client_disconnect")
    assert response == b""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_client_that_never_reads_is_given_up(
    shared_rig: Rig, worker: WorkerProcess, shared_upstream: FakeUpstream
) -> None:
    ends = len(shared_rig.ends())
    sockets = until(lambda: _sockets(worker) == 1 and 1, what="the listener alone")
    fake = {"fake": "size=60000000;events=600"}
    body = json.dumps({"model": "plain", "messages": [], "stream": True, "metadata": fake})
    head = f"authorization: Bearer sk-app\r\ncontent-length: {len(body)}"
    head += "\r\nx-limbeck-timeout-ms: 1100"
    with socket.create_connection(("127.0.0.1", worker.settings.port)) as connection:
        connection.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n{body}".encode()
        )
        until(lambda: len(shared_rig.ends()) > ends, seconds=20, what="the end")
        # Not only the request ends: the connection is closed, although nobody reads it.
        until(lambda: _sockets(worker) == sockets, what="the closed connection")
    end = shared_rig.ends()[-1]
    assert (end.status, end.finish) == (499, "client_disconnect")
    assert worker.metric("limbeck_open_requests") == 0
    assert "Traceback" not in worker.log.read_text()


def _sockets(worker: WorkerProcess) -> int:
    """Count the connections that clients have to the worker, as the kernel shows them."""
    port = f":{worker.settings.port:04X}"
    descriptors = {
        os.readlink(path)[len("socket:[") : -1]
        for path in Path(f"/proc/{worker.process.pid}/fd").iterdir()
        if os.path.lexists(path) and os.readlink(path).startswith("socket:[")
    }
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[9] in descriptors and line[1].endswith(port) for line in lines)
