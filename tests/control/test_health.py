from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from control.health import HealthWatch, acknowledgements, breakers_open_since
from router.policy import GuardPolicy
from router.snapshot import Acknowledgement
from router.stages import Stage
from router.state import Rollout
from tests.control.stored import ROUTE, STUDENT, T0, put_trace
from traces.store import Store

POLICY = GuardPolicy()
ROLLOUT = Rollout(student=STUDENT, k=1, stage=Stage.R25, entered=T0)
SERVED: dict[str, Any] = {"served_by": "student", "student": STUDENT, "student_ms": 50.0}
FELL_BACK: dict[str, Any] = {"fallback": "timeout", "fallback_student": STUDENT, "student_ms": 90.0}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "t.duckdb")
    yield store
    store.close()


def watch_of(store: Store, tmp_path: Path, *, to: float = T0 + 1e6) -> HealthWatch:
    watch = HealthWatch(store, tmp_path / "acks")
    watch.read(ROUTE, [ROLLOUT], POLICY, through=to)
    return watch


def test_everything_that_was_sent_to_the_student_counts_and_nothing_else(
    store: Store, tmp_path: Path
) -> None:
    put_trace(store, T0 + 1, **SERVED)
    put_trace(store, T0 + 2, **FELL_BACK)
    put_trace(store, T0 + 3)
    put_trace(store, T0 + 4, served_by="student", student="s0-other")
    # A stale prompt says nothing about the student's health.
    put_trace(store, T0 + 5, fallback="stale", fallback_student=STUDENT)
    health = watch_of(store, tmp_path).of(ROUTE, ROLLOUT, POLICY, upstream="students")
    assert (health.sent, health.failed, health.served) == (2, 1, 1)
    assert health.healthy_since == T0 + 2


@pytest.mark.parametrize(
    ("trace", "failed"),
    [
        # The teacher refused the request as well: it was the request's own fault.
        (FELL_BACK | {"fallback": "status", "status": 400}, 0),
        # The student refused what the teacher could answer.
        (FELL_BACK | {"fallback": "status", "status": 200}, 1),
        # A program that may have run tools is not asked again: the caller got the failure.
        (SERVED | {"status": 502, "finish": "refused"}, 1),
        (SERVED | {"status": 504, "finish": "upstream_timeout"}, 1),
        (SERVED | {"status": 400, "finish": "refused"}, 0),
        # A stream that broke off.
        (SERVED | {"status": 200, "finish": "upstream_lost"}, 1),
        (SERVED | {"status": 499, "finish": "client_disconnect"}, 0),
    ],
)
def test_what_counts_as_a_failure_of_the_student(
    store: Store, tmp_path: Path, trace: dict[str, Any], failed: int
) -> None:
    put_trace(store, T0 + 1, **trace)
    health = watch_of(store, tmp_path).of(ROUTE, ROLLOUT, POLICY, upstream="students")
    assert (health.sent, health.failed) == (1, failed)


def test_a_dead_student_alarms_after_a_few_requests_and_is_out_after_five(
    store: Store, tmp_path: Path
) -> None:
    alarms = []
    watch = watch_of(store, tmp_path)
    for number in range(1, 11):
        put_trace(store, T0 + number, **FELL_BACK)
        watch = watch_of(store, tmp_path)
        health = watch.of(ROUTE, ROLLOUT, POLICY, upstream="students")
        alarms.append(health.availability.verdict)
    assert alarms.index("alarm") + 1 in (7, 8)
    assert watch.student(ROUTE, ROLLOUT, POLICY).outages.covers(T0 + 1)


def test_a_restart_counts_again_and_ends_where_it_was(store: Store, tmp_path: Path) -> None:
    first = HealthWatch(store, tmp_path / "acks")
    for number in range(1, 9):
        put_trace(store, T0 + number, **(FELL_BACK if number % 3 else SERVED))
        first.read(ROUTE, [ROLLOUT], POLICY, through=T0 + number)
        first.read(ROUTE, [ROLLOUT], POLICY, through=T0 + number)
    again = watch_of(store, tmp_path)
    assert first.of(ROUTE, ROLLOUT, POLICY, upstream="s") == again.of(
        ROUTE, ROLLOUT, POLICY, upstream="s"
    )


def test_a_long_history_is_read_in_pieces(store: Store, tmp_path: Path) -> None:
    # Several at one moment: no piece may end between them.
    for number in range(40):
        put_trace(store, T0 + number // 3, **(FELL_BACK if number % 4 == 0 else SERVED))
    pieces = HealthWatch(store, tmp_path / "acks", chunk=7)
    pieces.read(ROUTE, [ROLLOUT], POLICY, through=T0 + 1e6)
    found = pieces.of(ROUTE, ROLLOUT, POLICY, upstream="s")
    assert (found.sent, found.failed, found.served) == (40, 10, 30)
    assert found == watch_of(store, tmp_path).of(ROUTE, ROLLOUT, POLICY, upstream="s")


def test_answers_are_counted_from_the_beginning_of_the_stage(store: Store, tmp_path: Path) -> None:
    watch = HealthWatch(store, tmp_path / "acks")

    def served(entered: float, to: float) -> int:
        rollout = msgspec.structs.replace(ROLLOUT, entered=entered)
        watch.read(ROUTE, [rollout], POLICY, through=to)
        return watch.of(ROUTE, rollout, POLICY, upstream="s").served

    for number in range(10):
        put_trace(store, T0 + number, **SERVED)
    assert served(T0, T0 + 5) == 6
    assert served(T0, T0 + 7) == 8
    assert served(T0 + 6, T0 + 7) == 2, "another stage began meanwhile"
    assert served(T0 + 6, T0 + 9) == 4


def test_after_a_return_the_detectors_begin_afresh(store: Store, tmp_path: Path) -> None:
    for number in range(1, 11):
        put_trace(store, T0 + number, **FELL_BACK)
    watch = watch_of(store, tmp_path)
    assert watch.of(ROUTE, ROLLOUT, POLICY, upstream="s").availability.verdict == "alarm"
    returned = msgspec.structs.replace(ROLLOUT, availability_from=T0 + 20)
    watch.read(ROUTE, [returned], POLICY, through=T0 + 30)
    health = watch.of(ROUTE, returned, POLICY, upstream="s")
    assert health.availability.verdict == "clear"
    assert (health.sent, health.failed) == (10, 10), "the count for flapping goes on"


def test_slow_answers_alarm_against_the_teachers_p95(store: Store, tmp_path: Path) -> None:
    for number in range(30):
        put_trace(store, T0 + number, latency_ms=100.0)
    for number in range(30):
        put_trace(store, T0 + 100 + number, **(SERVED | {"student_ms": 200.0}))
    watch = watch_of(store, tmp_path)
    assert watch.teacher(ROUTE).p95_ms == pytest.approx(100.0)
    verdict = watch.of(ROUTE, ROLLOUT, POLICY, upstream="s").availability
    assert verdict.verdict == "alarm" and "slow" in verdict.reason


def test_the_teachers_p95_does_not_move_with_every_request(store: Store, tmp_path: Path) -> None:
    for number in range(30):
        put_trace(store, T0 + number, latency_ms=100.0)
    watch = watch_of(store, tmp_path)
    for number in range(60):
        put_trace(store, T0 + 100 + number, latency_ms=110.0)
    watch.read(ROUTE, [], POLICY, through=T0 + 1e6)
    assert watch.teacher(ROUTE).p95_ms == pytest.approx(100.0)
    for number in range(500):
        put_trace(store, T0 + 200 + number, latency_ms=300.0)
    watch.read(ROUTE, [], POLICY, through=T0 + 1e6)
    assert watch.teacher(ROUTE).p95_ms == pytest.approx(300.0)


def test_teacher_failures_in_a_row_are_an_outage(store: Store, tmp_path: Path) -> None:
    for number in range(5):
        put_trace(store, T0 + number, status=503, answer=None)
    put_trace(store, T0 + 9)
    outages = watch_of(store, tmp_path).teacher(ROUTE).outages
    assert outages.covers(T0 + 7) and not outages.covers(T0 + 10)


def test_an_outage_of_the_teacher_ends_with_an_answer_of_a_later_look(
    store: Store, tmp_path: Path
) -> None:
    watch = HealthWatch(store, tmp_path / "acks")
    for number in range(8):
        put_trace(store, T0 + number, status=200 if number in (0, 7) else 503)
    for to in (T0 + 3, T0 + 6):
        watch.read(ROUTE, [], POLICY, through=to)
    assert watch.teacher(ROUTE).outages.out
    watch.read(ROUTE, [], POLICY, through=T0 + 9)
    outages = watch.teacher(ROUTE).outages
    assert not outages.out and outages.windows == ((T0 + 1, T0 + 7),)


def test_a_silent_endpoint_is_gone_only_after_a_while(store: Store, tmp_path: Path) -> None:
    watch = watch_of(store, tmp_path)
    now = time.time()
    watch.probed("students", "refused", now=now - 5)
    health = watch.of(ROUTE, ROLLOUT, POLICY, upstream="students")
    assert health.unreachable is None and health.healthy_since is None
    watch.probed("students", None, now=now)
    watch.probed("students", "refused", now=now - 61)
    watch.probed("students", "still refused", now=now)
    assert watch.of(ROUTE, ROLLOUT, POLICY, upstream="students").unreachable == "still refused"
    watch.probed("students", None, now=now)
    assert watch.of(ROUTE, ROLLOUT, POLICY, upstream="students").healthy_since is not None


def said(worker: str, **breakers: float) -> Acknowledgement:
    return Acknowledgement(
        worker=worker, pid=1, epoch=1, version=1, time=T0,
        breakers={f"{ROUTE}/{name}": since for name, since in breakers.items()},
    )  # fmt: skip


def test_breakers_hold_only_when_every_live_worker_has_its_own_open() -> None:
    key = f"{ROUTE}/s1"
    assert breakers_open_since({"w1": said("w1", s1=5.0), "w2": said("w2")}, key) is None
    assert breakers_open_since({"w1": said("w1", s1=5.0), "w2": said("w2", s1=7.0)}, key) == 7.0
    assert breakers_open_since({}, key) is None


def test_a_dead_workers_acknowledgement_does_not_count(tmp_path: Path) -> None:
    for worker in ("w1", "w2"):
        (tmp_path / f"{worker}.json").write_bytes(msgspec.json.encode(said(worker)))
    descriptor = os.open(tmp_path / "w1.json", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert acknowledgements(tmp_path).keys() == {"w1"}
    os.close(descriptor)
