"""A full spool: what each policy does."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.fakes.upstream import FakeUpstream
from tests.gateway.rig import HTTP, Rig, WorkerProcess, ask, snapshot
from tests.polling import until
from traces.record import Gap
from traces.spool import list_segments

SPOOL_BYTES = 256 * 1024
BIG = [{"role": "user", "content": "x" * 60_000}]


def _fill(worker: WorkerProcess) -> None:
    def is_full() -> bool:
        ask(worker, messages=BIG)
        return worker.metric("limbeck_spool_full") == 1

    until(is_full, what="the full spool")


def test_availability_serves_on_and_counts(rig: Rig, upstream: FakeUpstream) -> None:
    rig.publish(snapshot(upstream.base_url))
    worker = rig.start(max_spool_bytes=SPOOL_BYTES)
    _fill(worker)
    assert ask(worker, messages=BIG).status_code == 200
    ready = HTTP.get(f"{worker.url}/readyz")
    assert (ready.status_code, ready.json()) == (200, {"state": "degraded", "spool": "full"})
    frames = {
        state: worker.metric(f'limbeck_spool_frames_total{{state="{state}"}}')
        for state in ("accepted", "written", "dropped")
    }
    assert frames["dropped"] >= 2
    assert frames["accepted"] == frames["written"] + frames["dropped"] == len(upstream.received)
    assert len(rig.ends()) == frames["written"]
    for segment in list_segments(rig.spool)[:-1]:
        segment.path.unlink()

    def recovers() -> bool:
        ask(worker)
        return worker.metric("limbeck_spool_full") == 0

    until(recovers, what="room again")
    gaps = [header for header, _, _ in rig.frames() if isinstance(header, Gap)]
    dropped = worker.metric('limbeck_spool_frames_total{state="dropped"}')
    assert sum(sum(gap.dropped.values()) for gap in gaps) == dropped
    assert HTTP.get(f"{worker.url}/readyz").json()["state"] == "ready"


def test_audit_refuses_before_the_upstream_is_asked(rig: Rig, upstream: FakeUpstream) -> None:
    rig.publish(snapshot(upstream.base_url))
    worker = rig.start(max_spool_bytes=SPOOL_BYTES, spool_policy="audit")
    until(lambda: ask(worker, messages=BIG).status_code == 503, what="the full spool")
    asked = len(upstream.received)
    answer = ask(worker, messages=BIG)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "spool_full"
    assert len(upstream.received) == asked
    assert ask(worker, store=False).status_code == 200
    for segment in list_segments(rig.spool)[:-1]:
        segment.path.unlink()
    until(lambda: ask(worker).status_code == 200, what="room again")


def test_audit_answers_nothing_that_is_not_on_record(rig: Rig, upstream: FakeUpstream) -> None:
    rig.publish(snapshot(upstream.base_url))
    worker = rig.start(max_spool_bytes=SPOOL_BYTES, spool_policy="audit")
    slow = {"fake": "delay=0.5"}

    def ask_slowly(_: int) -> httpx.Response:
        return ask(worker, messages=BIG, metadata=slow)

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask_slowly, range(12)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 503}
    assert all("retry-after" in answer.headers for answer in answers if answer.is_error)
    # Some were open when the spool became full.
    assert len(upstream.received) > statuses.count(200)
    assert len(rig.ends()) == statuses.count(200)


def test_a_disk_that_is_nearly_full_counts_as_a_full_spool(
    rig: Rig, upstream: FakeUpstream
) -> None:
    rig.publish(snapshot(upstream.base_url))
    worker = rig.start(min_free_bytes=1 << 60)
    assert ask(worker).status_code == 200
    assert HTTP.get(f"{worker.url}/readyz").json() == {"state": "degraded", "spool": "full"}
    assert rig.frames() == []
    assert "gateway.min_free_mb" in worker.log.read_text()
    refusing = rig.start("w2", min_free_bytes=1 << 60, spool_policy="audit")
    assert ask(refusing).status_code == 503


def test_feedback_is_not_taken_when_it_would_be_lost(rig: Rig, upstream: FakeUpstream) -> None:
    rig.publish(snapshot(upstream.base_url))
    worker = rig.start(max_spool_bytes=SPOOL_BYTES)
    _fill(worker)
    item = {"inference_id": str(uuid.uuid4()), "comment": "y" * 200_000}
    answer = HTTP.post(f"{worker.url}/v1/feedback", json=item)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "spool_full")
