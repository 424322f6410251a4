"""Following the snapshot: weights, overrides, leases, broken files, acknowledgements."""

from __future__ import annotations

import os

import msgspec
import pytest

from router.snapshot import Snapshot
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


def _served_by(worker: WorkerProcess, **more: object) -> str:
    answer = ask(worker, **more)  # type: ignore[arg-type]
    assert answer.status_code == 200
    return str(answer.headers["x-limbeck-served-by"])


def _reason(worker: WorkerProcess, **more: object) -> str:
    answer = ask(worker, **more)  # type: ignore[arg-type]
    assert answer.status_code == 200
    return str(answer.headers["x-limbeck-route-reason"])


def _wait_for(worker: WorkerProcess, version: int) -> None:
    until(lambda: worker.acknowledgement().version == version, what=f"version {version}")


def test_weights_and_holdout(rig: Rig, upstream: FakeUpstream) -> None:
    routes = {
        "half": student_route(weight=0.5),
        "held": student_route(weight=1.0, holdout=1.0),
        "none": student_route(weight=0.0),
    }
    rig.publish(snapshot(upstream.base_url, routes))
    worker = rig.start()
    users = [f"user-{number}" for number in range(60)]
    first = [_served_by(worker, model="half", user=user) for user in users]
    again = [_served_by(worker, model="half", user=user) for user in users]
    assert first == again
    assert 15 < first.count("student") < 45
    assert _reason(worker, model="held") == "holdout"
    assert _reason(worker, model="none") == "default"
    rig.publish(snapshot(upstream.base_url, {"half": student_route(weight=0.75)}, version=2))
    _wait_for(worker, 2)
    more = [_served_by(worker, model="half", user=user) for user in users]
    assert all(
        now == "student" for now, before in zip(more, first, strict=True) if before == "student"
    )


def test_conversations_stick(rig: Rig, upstream: FakeUpstream) -> None:
    rig.publish(snapshot(upstream.base_url, {"triage": student_route(weight=0.5)}))
    worker = rig.start()
    for number in range(8):
        session = {"x-limbeck-session-id": f"session-{number}"}
        texts = [[{"role": "user", "content": text}] for text in ("a", "b", "c")]
        sides = {_served_by(worker, headers=session, messages=text) for text in texts}
        assert len(sides) == 1


def test_an_override_is_obeyed_and_acknowledged(rig: Rig, upstream: FakeUpstream) -> None:
    routes = {"triage": student_route(), "other": student_route()}
    rig.publish(snapshot(upstream.base_url, routes))
    worker = rig.start()
    assert _served_by(worker) == "student"
    rig.override("triage", "override-7")
    until(lambda: "override-7" in worker.acknowledgement().overrides, what="the acknowledgement")
    assert _reason(worker) == "rollback"
    assert _served_by(worker, model="other") == "student"
    folded = {**routes, "triage": teacher_route(folded_override="override-7")}
    rig.publish(snapshot(upstream.base_url, folded, version=2))
    (rig.overrides / "triage.json").unlink()
    _wait_for(worker, 2)
    assert worker.acknowledgement().overrides == ("override-7",)
    assert _served_by(worker) == "teacher"


def test_an_override_that_can_not_be_read_counts(rig: Rig, upstream: FakeUpstream) -> None:
    rig.publish(snapshot(upstream.base_url, {"triage": student_route()}))
    worker = rig.start()
    rig.overrides.mkdir()
    (rig.overrides / ".triage.json.tmp").write_text("half")
    (rig.overrides / "triage.json").write_text("no JSON")
    until(lambda: _reason(worker) == "rollback", what="the override")
    assert "triage.json" in worker.log.read_text()


def test_a_lease_ends_and_is_renewed(rig: Rig, upstream: FakeUpstream) -> None:
    rig.publish(snapshot(upstream.base_url, {"triage": student_route(valid_for_s=0.8)}))
    worker = rig.start()
    until(lambda: _reason(worker) == "lease", what="the lease's end")
    rig.publish(snapshot(upstream.base_url, {"triage": student_route()}))
    until(lambda: _served_by(worker) == "student", what="the renewal")
    assert worker.acknowledgement().version == 1


@pytest.mark.parametrize("broken", [b"{", b'{"schema": 99}', b"", None], ids=str)
def test_a_broken_snapshot_means_teacher(
    rig: Rig, upstream: FakeUpstream, broken: bytes | None
) -> None:
    routes = {"triage": student_route()}
    rig.publish(snapshot(upstream.base_url, routes))
    worker = rig.start()
    assert _served_by(worker) == "student"
    if broken is None:
        rig.snapshot.unlink()
    else:
        rig.snapshot.write_bytes(broken)
    until(lambda: _reason(worker) == "lease", what="the teacher")
    assert worker.metric("limbeck_snapshot_errors_total") >= 1
    assert "can't be used" in worker.log.read_text()
    rig.publish(snapshot(upstream.base_url, routes, version=2))
    until(lambda: _served_by(worker) == "student", what="the repaired snapshot")


def test_a_snapshot_that_contradicts_itself_is_broken(rig: Rig, upstream: FakeUpstream) -> None:
    rig.publish(snapshot(upstream.base_url, {"triage": student_route()}))
    worker = rig.start()
    bad = student_route(student_upstream="missing")
    rig.publish(snapshot(upstream.base_url, {"triage": bad}, version=2))
    until(lambda: _reason(worker) == "lease", what="the teacher")
    assert "upstream 'missing' is not defined" in worker.log.read_text()
    assert worker.acknowledgement().version == 1


@pytest.mark.parametrize(("epoch", "version"), [(2, 4), (1, 9)])
def test_an_older_snapshot_is_ignored(
    rig: Rig, upstream: FakeUpstream, epoch: int, version: int
) -> None:
    rig.publish(snapshot(upstream.base_url, version=5, epoch=2))
    worker = rig.start()
    rig.publish(snapshot(upstream.base_url, {}, version=version, epoch=epoch))
    until(lambda: worker.metric("limbeck_snapshot_errors_total"), what="the refusal")
    assert ask(worker).status_code == 200
    rig.publish(snapshot(upstream.base_url, version=1, epoch=3))
    _wait_for(worker, 1)
    assert worker.acknowledgement().epoch == 3


def test_a_start_with_a_broken_snapshot_serves_the_last_good_one(
    rig: Rig, upstream: FakeUpstream
) -> None:
    rig.publish(snapshot(upstream.base_url, {"triage": student_route()}, version=3))
    rig.start().stop()
    rig.snapshot.write_text("broken")
    worker = rig.start("w2")
    assert _reason(worker) == "lease"
    assert worker.acknowledgement().version == 3
    rig.publish(snapshot(upstream.base_url, {"triage": student_route()}, version=4))
    until(lambda: _served_by(worker) == "student", what="the repaired snapshot")


def test_without_any_snapshot_there_is_a_503(rig: Rig, upstream: FakeUpstream) -> None:
    worker = rig.start()
    answer = ask(worker)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (503, "overloaded", "no_snapshot")
    assert answer.headers["retry-after"]
    assert worker.acknowledgement().version == 0
    rig.publish(snapshot(upstream.base_url))
    until(lambda: ask(worker).status_code == 200, what="the first snapshot")


def test_connections_outlive_a_change_of_the_snapshot(rig: Rig, upstream: FakeUpstream) -> None:
    rig.publish(snapshot(upstream.base_url))
    worker = rig.start()
    ask(worker)
    rig.publish(snapshot(upstream.base_url, version=2))
    _wait_for(worker, 2)
    ask(worker)
    assert upstream.connections == 1
    rig.publish(snapshot(f"http://127.0.0.1:{free_port()}/v1", version=3))
    _wait_for(worker, 3)
    until(lambda: upstream.open_connections == 0, what="the closed connection")


def test_the_acknowledgement_is_written_only_on_a_change(rig: Rig, upstream: FakeUpstream) -> None:
    routes = {"triage": student_route()}
    rig.publish(snapshot(upstream.base_url, routes))
    worker = rig.start()
    first = worker.acknowledgement()
    assert (first.worker, first.pid, first.epoch, first.version) == ("w1", worker.process.pid, 1, 1)
    rig.publish(snapshot(upstream.base_url, routes))
    rig.override("triage")
    until(lambda: worker.acknowledgement().overrides, what="the override's acknowledgement")
    rig.publish(snapshot(upstream.base_url, {"triage": student_route(valid_for_s=60)}))
    (rig.overrides / "triage.json").unlink()
    until(lambda: not worker.acknowledgement().overrides, what="the override's end")
    last = worker.acknowledgement()
    assert msgspec.structs.replace(last, time=first.time) == first
    assert last.time > first.time


def test_the_copy_of_the_last_good_snapshot(rig: Rig, upstream: FakeUpstream) -> None:
    published = snapshot(upstream.base_url, {"triage": student_route()}, version=8)
    rig.publish(published)
    worker = rig.start()
    copy = msgspec.json.decode(worker.settings.last_good.read_bytes(), type=Snapshot)
    assert copy == published
    assert copy.routes["triage"].students[0].student == STUDENT


def test_a_slow_disk_for_the_copy_delays_no_override(rig: Rig, upstream: FakeUpstream) -> None:
    routes = {"triage": student_route()}
    rig.publish(snapshot(upstream.base_url, routes))
    worker = rig.start()
    copy = worker.settings.last_good
    # Opening it for writing waits for a reader, as a stalled disk would.
    os.mkfifo(copy.with_name(f".{copy.name}.{worker.process.pid}.tmp"))
    rig.publish(snapshot(upstream.base_url, routes, version=2))
    _wait_for(worker, 2)
    rig.override("triage")
    until(lambda: _reason(worker) == "rollback", what="the override")


def test_an_override_that_is_no_file_stops_its_route(rig: Rig, upstream: FakeUpstream) -> None:
    rig.publish(snapshot(upstream.base_url, {"triage": student_route()}))
    worker = rig.start()
    (rig.overrides / "triage.json").mkdir(parents=True)
    until(lambda: _reason(worker) == "rollback", what="the override")
    rig.publish(snapshot(upstream.base_url, version=2))
    _wait_for(worker, 2)
    assert worker.log.read_text().count("can't be read") == 1


def test_a_full_disk_stops_no_worker_from_starting(rig: Rig, upstream: FakeUpstream) -> None:
    rig.publish(snapshot(upstream.base_url, {"triage": student_route()}))
    (rig.folder / "acks").mkdir()
    (rig.folder / "acks" / "w1.json").symlink_to("/dev/full")
    worker = rig.start()
    assert _served_by(worker) == "student"
    rig.override("triage")
    until(lambda: _reason(worker) == "rollback", what="the override")
    assert worker.log.read_text().count("No space left") == 1
