from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from control.health import HealthWatch, acknowledgements, breakers_open_since
from router.events import Health
from router.policy import GuardPolicy
from router.snapshot import Acknowledgement
from router.stages import Stage
from router.state import Rollout
from tests.control.stored import ROUTE, STUDENT, T0, put_trace
from traces.store import Store

POLICY = GuardPolicy()
ROLLOUT = Rollout(student=STUDENT, k=1, stage=Stage.R25, entered=T0)


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[HealthWatch]:
    store = Store(tmp_path / "t.duckdb")
    put_trace(store, T0 + 1, fallback="timeout", fallback_student=STUDENT, student_ms=90.0)
    watch = HealthWatch(store, tmp_path / "acks", started=T0)
    watch.read(ROUTE, [ROLLOUT], POLICY, to=T0 + 1e6, deadline_s=600.0)
    yield watch
    store.close()


def health(watch: HealthWatch) -> Health:
    return watch.of(ROUTE, ROLLOUT, POLICY, upstream="students")


def test_a_request_that_outlasts_its_deadline_by_some_seconds_counts_when_it_ends(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path / "t.duckdb")
    watch = HealthWatch(store, tmp_path / "acks", started=T0)
    served = {"served_by": "student", "student": STUDENT, "latency_ms": 605_000.0}
    put_trace(store, T0 + 1, **served)
    put_trace(store, T0 + 2, status=503, latency_ms=605_000.0)
    for to in (T0 + 600, T0 + 605, T0 + 700):
        watch.read(ROUTE, [ROLLOUT], POLICY, to=to, deadline_s=600.0)
    assert health(watch).sent == 1 and watch.teacher(ROUTE).outages.failures == 1
    store.close()


def test_an_endpoint_is_healthy_from_its_first_answered_probe_on(watch: HealthWatch) -> None:
    assert health(watch).healthy_since is None, "a start knows nothing yet"
    now = time.time()
    watch.probed("students", None, now=now - 9)
    watch.probed("students", None, now=now - 8)
    assert health(watch).healthy_since == now - 9
    watch.probed("other", "refused", now=now)
    assert health(watch).healthy_since == now - 9


def test_a_silent_endpoint_is_gone_only_after_a_while(watch: HealthWatch) -> None:
    now = time.time()
    watch.probed("students", None, now=now - 90)
    watch.probed("students", "refused", now=now - 5)
    assert health(watch).unreachable is None and health(watch).healthy_since is None
    watch.probed("students", None, now=now)
    watch.probed("students", "refused", now=now - 61)
    watch.probed("students", "still refused", now=now)
    assert health(watch).unreachable == "still refused"
    watch.probed("students", None, now=now)
    assert health(watch).unreachable is None and health(watch).healthy_since == now


def test_what_nobody_probes_any_more_is_forgotten(watch: HealthWatch) -> None:
    now = time.time()
    watch.probed("students", "refused", now=now - 100)
    watch.probed("others", None, now=now)
    watch.probing(["others"])
    assert health(watch).unreachable is None and health(watch).healthy_since is None
    watch.probing([])
    assert watch.of(ROUTE, ROLLOUT, POLICY, upstream="others").healthy_since is None


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
