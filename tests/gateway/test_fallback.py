"""Failure means teacher: every fault of a student before its first byte."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.breakers import FAILURES
from router.snapshot import Upstream
from tests.fakes.upstream import FakeUpstream
from tests.gateway.rig import (
    STUDENT,
    Rig,
    WorkerProcess,
    ask,
    free_port,
    snapshot,
    student_route,
    teacher_route,
)
from tests.polling import until
from traces.record import RequestEnd

#: (fault of the student, what the trace calls it)
FAULTS = [
    ("status=500", "status"),
    ("status=429", "status"),
    ("status=400", "status"),
    ("status=302", "status"),
    ("status=412", "stale"),
    ("drop=request", "lost"),
    ("drop=head", "lost"),
    ("garbage", "lost"),
    ("empty", "lost"),
    ("hang", "timeout"),
]
DEADLINE_S = 0.3


@pytest.fixture(scope="module")
def dead_url() -> str:
    return f"http://127.0.0.1:{free_port()}/v1"


@pytest.fixture(scope="module")
def worker(
    shared_rig: Rig, shared_upstream: FakeUpstream, dead_url: str
) -> Iterator[WorkerProcess]:
    routes = {
        # Only who hangs has a short deadline: on a busy machine others would miss it too.
        f"r{number}": student_route(student_deadline_s=DEADLINE_S if fault == "hang" else 60.0)
        for number, (fault, _) in enumerate(FAULTS)
    }
    routes["slow"] = student_route(student_deadline_s=60.0)
    routes["short"] = student_route(deadline_s=0.1)
    routes["dead"] = student_route(student_upstream="dead")
    routes["tools"] = student_route(student_deadline_s=60.0, replayable=False)
    routes["tools-late"] = student_route(student_deadline_s=DEADLINE_S, replayable=False)
    routes["tools-hosted"] = student_route(student_upstream="host", replayable=False)
    routes["hosted"] = teacher_route(upstream="host")
    routes["tools-dead"] = student_route(student_upstream="dead", replayable=False)
    upstreams = {
        "dead": Upstream(base_url=dead_url),
        "host": Upstream(base_url=shared_upstream.base_url, internal=True),
    }
    shared_rig.publish(snapshot(shared_upstream.base_url, routes, upstreams=upstreams))
    yield shared_rig.start(env={"LIMBECK_INTERNAL_KEY": "between-us"})


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("number", range(len(FAULTS)), ids=[fault for fault, _ in FAULTS])
def test_the_teacher_answers_the_same_request(
    shared_rig: Rig, worker: WorkerProcess, number: int, stream: bool
) -> None:
    fake, kind = FAULTS[number]
    started = time.monotonic()
    answer = ask(worker, f"r{number}", stream=stream, metadata={"fake:student-model": fake})
    elapsed_s = time.monotonic() - started
    assert answer.status_code == 200
    assert answer.headers["x-limbeck-served-by"] == "teacher"
    assert answer.headers["x-limbeck-route-reason"] == "fallback"
    assert "x-limbeck-student" not in answer.headers
    if not stream:
        assert answer.json()["choices"][0]["message"]["content"] == "teacher-model: hello"
    if kind == "timeout":
        assert elapsed_s >= DEADLINE_S
    end = shared_rig.end(answer.headers["x-limbeck-inference-id"])
    assert (end.fallback, end.fallback_student, end.student) == (kind, STUDENT, None)
    assert (end.served_by, end.reason, end.upstream_model) == (
        "teacher",
        "fallback",
        "teacher-model",
    )
    assert (end.stage, end.weight, end.propensity) == ("LIVE", 1.0, 1.0)
    assert end.student_us is not None


@pytest.mark.parametrize(
    ("fake", "kind"),
    [
        ("comments;events=1000;gap=0.05", "timeout"),
        ("comments;events=3;no_done", "lost"),
        ("events=1;drop=event", "lost"),
    ],
)
def test_a_stream_without_an_event_is_no_answer_yet(
    shared_rig: Rig, worker: WorkerProcess, fake: str, kind: str
) -> None:
    name = next(f"r{number}" for number, (fault, _) in enumerate(FAULTS) if fault == "hang")
    answer = ask(
        worker,
        name if kind == "timeout" else "slow",
        stream=True,
        metadata={"fake:student-model": fake},
    )
    assert answer.headers["x-limbeck-served-by"] == "teacher"
    assert answer.text.startswith("data: ") and answer.text.endswith("data: [DONE]\n\n")
    assert _end(shared_rig, answer).fallback == kind


def test_comments_before_the_first_event_pass_with_it(worker: WorkerProcess) -> None:
    fake = {"fake:student-model": "preamble"}
    answer = ask(worker, "slow", stream=True, metadata=fake)
    assert answer.headers["x-limbeck-served-by"] == "student"
    assert answer.text.startswith(": waiting\n\ndata: ")
    assert answer.text.endswith("data: [DONE]\n\n")


def test_the_clients_bound_leaves_time_for_the_teacher(worker: WorkerProcess) -> None:
    fake = {"fake:student-model": "hang", "fake": "delay=0.2"}
    answer = ask(worker, "slow", metadata=fake, headers={"x-limbeck-timeout-ms": "3000"})
    assert answer.status_code == 200
    assert answer.headers["x-limbeck-route-reason"] == "fallback"


def _end(rig: Rig, answer: httpx.Response) -> RequestEnd:
    return rig.end(answer.headers["x-limbeck-inference-id"])


def test_a_client_in_haste_opens_no_breaker(rig: Rig, upstream: FakeUpstream) -> None:
    rig.publish(snapshot(upstream.base_url, {"triage": student_route(student_deadline_s=30.0)}))
    worker = rig.start()
    haste = {"x-limbeck-timeout-ms": "400"}
    late = {"fake:student-model": "hang"}
    for _ in range(FAILURES + 1):
        answer = ask(worker, metadata=late, headers=haste)
        assert (answer.status_code, _end(rig, answer).fallback) == (200, "client_deadline")
    for _ in range(FAILURES):
        # Its first byte came in time: the rest of it is cut at the client's bound.
        answer = ask(worker, metadata={"fake": "stall"}, headers=haste, stream=True)
        assert '"client_timeout"' in answer.text
        assert (answer.status_code, _end(rig, answer).finish) == (200, "client_timeout")
    assert ask(worker).headers["x-limbeck-served-by"] == "student"
    line = f'limbeck_fallbacks_total{{kind="client_deadline",route="triage",student="{STUDENT}"}}'
    assert worker.metric(line) == FAILURES + 1


def test_a_client_in_haste_is_no_fault_of_the_teacher(
    shared_rig: Rig, worker: WorkerProcess
) -> None:
    haste = {"x-limbeck-timeout-ms": "200"}
    answer = ask(worker, "slow@teacher", metadata={"fake": "hang"}, headers=haste)
    error = answer.json()["error"]
    assert answer.status_code == 504
    assert (error["type"], error["code"]) == ("upstream_timeout", "client_timeout")
    assert _end(shared_rig, answer).finish == "client_timeout"
    answer = ask(worker, "short@teacher", metadata={"fake": "hang"}, headers=haste)
    assert answer.json()["error"]["code"] == "upstream_timeout"
    assert _end(shared_rig, answer).finish == "upstream_timeout"


def test_a_client_with_patience_changes_nothing(shared_rig: Rig, worker: WorkerProcess) -> None:
    patient = {"x-limbeck-timeout-ms": "20000"}
    hangs = next(f"r{number}" for number, (fault, _) in enumerate(FAULTS) if fault == "hang")
    answer = ask(worker, hangs, metadata={"fake:student-model": "hang"}, headers=patient)
    assert _end(shared_rig, answer).fallback == "timeout"


def test_a_host_that_gives_up_at_the_clients_deadline(
    shared_rig: Rig, worker: WorkerProcess
) -> None:
    def asked(model: str, tools_ran: int = 0, timeout_ms: int | None = 10_000) -> tuple[Any, ...]:
        gives_up = f"status=504;header=x-limbeck-tools-ran:{tools_ran}"
        fake = {"fake" if model == "hosted" else "fake:student-model": gives_up}
        headers = {"x-limbeck-timeout-ms": str(timeout_ms)} if timeout_ms else {}
        answer = ask(worker, model, metadata=fake, headers=headers)
        end = _end(shared_rig, answer)
        return answer.status_code, end.fallback, end.finish

    assert asked("tools-hosted") == (200, "client_deadline", "stop")
    assert asked("tools-hosted", tools_ran=1) == (504, None, "client_timeout")
    assert asked("hosted") == (504, None, "client_timeout")
    # The deadline was ours.
    assert asked("tools-hosted", timeout_ms=None) == (200, "status", "stop")
    assert asked("hosted", timeout_ms=None) == (504, None, "refused")


def test_half_an_answer_is_a_failure_too(worker: WorkerProcess) -> None:
    answer = ask(worker, "r0", metadata={"fake:student-model": "drop=body"})
    assert answer.headers["x-limbeck-route-reason"] == "fallback"


def test_a_student_that_is_not_there(shared_rig: Rig, worker: WorkerProcess) -> None:
    answer = ask(worker, "dead")
    assert answer.headers["x-limbeck-route-reason"] == "fallback"
    assert shared_rig.end(answer.headers["x-limbeck-inference-id"]).fallback == "connect"


def test_a_stream_of_a_student_that_breaks_is_not_switched(worker: WorkerProcess) -> None:
    answer = ask(worker, "r1", stream=True, metadata={"fake:student-model": "drop=body"})
    assert answer.headers["x-limbeck-served-by"] == "student"
    assert answer.headers["x-limbeck-student"] == STUDENT
    assert '"error"' in answer.text
    assert "[DONE]" not in answer.text


@pytest.mark.parametrize(
    ("fake", "status"),
    [
        ("status=502", 502),
        ("status=502;header=x-limbeck-tools-ran:1", 502),
        ("drop=request", 502),
        ("hang", 504),
    ],
)
def test_a_request_that_may_have_run_tools_is_not_repeated(
    worker: WorkerProcess, shared_upstream: FakeUpstream, fake: str, status: int
) -> None:
    ask(worker, "tools")
    before = len(shared_upstream.received)
    name = "tools-late" if fake == "hang" else "tools"
    answer = ask(worker, name, metadata={"fake:student-model": fake})
    assert answer.status_code == status
    assert answer.json()["error"]
    assert answer.headers["x-limbeck-served-by"] == "student"
    assert shared_upstream.models()[before:] == ["student-model"]


def test_a_request_that_ran_no_tool_is_repeated(worker: WorkerProcess) -> None:
    fake = "status=502;header=x-limbeck-tools-ran:0"
    answer = ask(worker, "tools", metadata={"fake:student-model": fake})
    assert answer.headers["x-limbeck-route-reason"] == "fallback"


def test_a_request_that_reached_nobody_is_repeated(worker: WorkerProcess) -> None:
    answer = ask(worker, "tools-dead")
    assert answer.headers["x-limbeck-route-reason"] == "fallback"


def test_failures_in_a_row_open_the_breaker(rig: Rig, upstream: FakeUpstream) -> None:
    rig.publish(snapshot(upstream.base_url, {"triage": student_route()}))
    worker = rig.start()
    fake = {"fake:student-model": "status=500"}
    reasons = [
        ask(worker, metadata=fake).headers["x-limbeck-route-reason"] for _ in range(FAILURES + 2)
    ]
    assert reasons == ["fallback"] * FAILURES + ["breaker"] * 2
    assert upstream.models().count("student-model") == FAILURES
    until(lambda: worker.acknowledgement().breakers, what="the breaker's acknowledgement")
    assert list(worker.acknowledgement().breakers) == [f"triage/{STUDENT}"]
    line = f'limbeck_fallbacks_total{{kind="status",route="triage",student="{STUDENT}"}}'
    assert worker.metric(line) == FAILURES


def test_a_student_without_weight_has_no_breaker(rig: Rig, upstream: FakeUpstream) -> None:
    """Nobody asks it, so nothing could close its breaker: it returns with a closed one."""
    rig.publish(snapshot(upstream.base_url, {"triage": student_route()}))
    worker = rig.start()
    for _ in range(FAILURES):
        ask(worker, metadata={"fake:student-model": "status=500"})
    until(lambda: worker.acknowledgement().breakers, what="the open breaker")
    rig.publish(snapshot(upstream.base_url, {"triage": student_route(weight=0.0)}, version=2))
    until(lambda: not worker.acknowledgement().breakers, what="the breaker's end")
    rig.publish(snapshot(upstream.base_url, {"triage": student_route()}, version=3))
    until(lambda: worker.acknowledgement().version == 3, what="the return")
    assert ask(worker).headers["x-limbeck-served-by"] == "student"


def test_streams_that_break_open_the_breaker_too(rig: Rig, upstream: FakeUpstream) -> None:
    # Each began well: only a whole stream says that the student does well.
    rig.publish(snapshot(upstream.base_url, {"triage": student_route()}))
    worker = rig.start()
    fake = {"fake:student-model": "drop=body"}
    for _ in range(FAILURES):
        assert ask(worker, stream=True, metadata=fake).headers["x-limbeck-served-by"] == "student"
    assert ask(worker, stream=True).headers["x-limbeck-route-reason"] == "breaker"


def test_a_whole_stream_closes_the_count_of_failures(rig: Rig, upstream: FakeUpstream) -> None:
    rig.publish(snapshot(upstream.base_url, {"triage": student_route()}))
    worker = rig.start()
    for _ in range(2):
        for _ in range(FAILURES - 1):
            ask(worker, metadata={"fake:student-model": "status=500"})
        assert ask(worker, stream=True).headers["x-limbeck-served-by"] == "student"


def test_bad_inputs_open_no_breaker(rig: Rig, upstream: FakeUpstream) -> None:
    rig.publish(snapshot(upstream.base_url, {"triage": student_route()}))
    worker = rig.start()
    for _ in range(FAILURES + 1):
        ask(worker, metadata={"fake:student-model": "status=400"})
    assert ask(worker).headers["x-limbeck-served-by"] == "student"


def test_the_teachers_error_after_a_fallback_is_the_callers(
    shared_rig: Rig, worker: WorkerProcess
) -> None:
    fake = {"fake:student-model": "status=500", "fake": "status=503"}
    answer = ask(worker, "r2", metadata=fake)
    assert answer.status_code == 503
    assert answer.headers["x-limbeck-served-by"] == "teacher"
    end = shared_rig.end(answer.headers["x-limbeck-inference-id"])
    assert (end.status, end.finish, end.fallback) == (503, "refused", "status")


def test_internal_upstreams_get_id_and_deadline(rig: Rig, upstream: FakeUpstream) -> None:
    internal = Upstream(base_url=upstream.base_url, internal=True)
    route = student_route(student_upstream="host", student_deadline_s=5.0, deadline_s=50.0)
    rig.publish(snapshot(upstream.base_url, {"triage": route}, upstreams={"host": internal}))
    worker = rig.start(env={"LIMBECK_INTERNAL_KEY": "between-us"})
    answer = ask(worker)
    headers = upstream.received[-1].headers
    assert headers["authorization"] == "Bearer between-us"
    assert headers["x-limbeck-inference-id"] == answer.headers["x-limbeck-inference-id"]
    assert 4000 < int(headers["x-limbeck-deadline-ms"]) <= 5000
    # Nothing is recorded of it, by a program host either, which records what has an id.
    assert ask(worker, store=False).status_code == 200
    headers = upstream.received[-1].headers
    assert "x-limbeck-inference-id" not in headers and "x-limbeck-deadline-ms" in headers
