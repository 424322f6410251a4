"""Start, stop, several workers on a port, and what a worker must not import."""

from __future__ import annotations

import resource
import signal
import socket
import sys
import threading
from pathlib import Path

import httpx
import pytest

from gateway.errors import WorkerStartError
from gateway.worker import WorkerSettings, serve
from router.snapshot import AppKey
from tests.fakes.upstream import FakeUpstream
from tests.gateway.rig import HTTP, Rig, ask, free_port, keys, snapshot
from tests.polling import until
from traces.spool import is_orphan, list_segments

HEAVY = {
    "duckdb",
    "dspy",
    "litellm",
    "apscheduler",
    "torch",
    "ctranslate2",
    "sklearn",
    "numpy",
    "openai",
    "httpx",
    "traces.store",
    "control",
    "distiller",
    "programs",
}


def _settings(folder: Path, port: int) -> WorkerSettings:
    return WorkerSettings(
        host="127.0.0.1",
        port=port,
        worker="w1",
        snapshot=folder / "snapshot.json",
        last_good=folder / "good.json",
        overrides=folder / "overrides",
        acknowledgements=folder / "acks",
        spool=folder / "spool",
    )


def test_a_worker_stays_light(rig: Rig, upstream: FakeUpstream) -> None:
    rig.publish(snapshot(upstream.base_url))
    worker = rig.start(arguments=("--modules",))
    assert ask(worker).status_code == 200
    assert HTTP.get(f"{worker.url}/metrics").status_code == 200
    assert worker.stop() == 0
    modules = set(worker.log.read_text().split())
    assert {"gateway.core", "traces.spool"} <= modules
    assert not modules & HEAVY


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limits are read in /proc")
def test_a_worker_may_open_as_many_files_as_the_system_allows(
    rig: Rig, upstream: FakeUpstream
) -> None:
    rig.publish(snapshot(upstream.base_url))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard - 1, hard))
    try:
        worker = rig.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    limits = Path(f"/proc/{worker.process.pid}/limits").read_text()
    (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
    assert line.split()[3:5] == [str(hard), str(hard)]


def test_a_stop_finishes_what_is_open(rig: Rig, upstream: FakeUpstream) -> None:
    rig.publish(snapshot(upstream.base_url))
    worker = rig.start()
    answers: list[httpx.Response] = []
    fake = {"fake": "delay=1"}
    asking = threading.Thread(target=lambda: answers.append(ask(worker, metadata=fake)))
    with httpx.Client(base_url=worker.url) as idle:
        assert idle.get("/readyz").status_code == 200
        asking.start()
        until(lambda: upstream.received, what="the request")
        worker.process.send_signal(signal.SIGTERM)
        assert worker.stop() == 0
        asking.join()
    assert answers[0].status_code == 200
    trace_id = answers[0].headers["x-limbeck-inference-id"]
    assert rig.end(trace_id).finish == "stop"
    assert all(is_orphan(segment.path) for segment in list_segments(rig.spool))


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_stop_tells_whom_it_can_not_wait_for(
    rig: Rig, upstream: FakeUpstream, stream: bool
) -> None:
    rig.publish(snapshot(upstream.base_url))
    worker = rig.start(drain_s=1)
    answers: list[httpx.Response] = []
    asked = {"stream": stream, "metadata": {"fake": "stall" if stream else "hang"}}
    asking = threading.Thread(target=lambda: answers.append(ask(worker, **asked)))
    asking.start()
    until(lambda: upstream.received, what="the request")
    assert worker.stop() == 0
    asking.join()
    assert '"code":"draining"' in answers[0].text
    if not stream:
        assert answers[0].status_code == 503
        assert answers[0].headers["x-should-retry"] == "true"
    assert "Traceback" not in worker.log.read_text()
    (end,) = rig.ends()
    # Nobody's fault: it is no evidence.
    assert (end.status, end.finish) == (499, "client_disconnect")


def test_a_kill_of_one_of_two_workers_loses_no_new_request(
    rig: Rig, upstream: FakeUpstream
) -> None:
    rig.publish(snapshot(upstream.base_url))
    port = free_port()
    first = rig.start("w1", port=port)
    second = rig.start("w2", port=port)

    def both_answered() -> bool:
        ask(first)
        return {end.worker for end in rig.ends()} == {"w1", "w2"}

    until(both_answered, what="answers of both workers")
    first.stop(signal.SIGKILL)
    for _ in range(20):
        assert ask(second).status_code == 200
    assert sum(end.worker == "w2" for end in rig.ends()) >= 20
    again = rig.start("w1", port=port)
    until(lambda: again.acknowledgement().pid == again.process.pid, what="the new worker")


def test_beyond_its_own_machine_a_worker_serves_apps_with_keys_only(
    rig: Rig, upstream: FakeUpstream
) -> None:
    rig.publish(snapshot(upstream.base_url))
    worker = rig.start(host="0.0.0.0")
    assert ask(worker).status_code == 503
    assert HTTP.get(f"{worker.url}/readyz").status_code == 503
    assert "add [gateway] keys, or listen on 127.0.0.1" in worker.log.read_text()
    rig.publish(snapshot(upstream.base_url, keys=keys(sk_app=AppKey(name="app")), version=2))
    until(lambda: worker.acknowledgement().version == 2, what="the snapshot with a key")
    assert ask(worker).status_code == 401
    assert ask(worker, headers={"x-api-key": "sk-app"}).status_code == 200


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(WorkerStartError, match=rf"127\.0\.0\.1:{port}.*in use"):
            serve(_settings(tmp_path, port))


def test_a_workers_name_in_use_is_told(rig: Rig, upstream: FakeUpstream) -> None:
    rig.publish(snapshot(upstream.base_url))
    rig.start("w1")
    with pytest.raises(WorkerStartError, match="a worker named 'w1' runs already"):
        serve(_settings(rig.folder, free_port()))
