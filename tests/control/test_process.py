from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastuuid
import httpx
import msgspec
import pytest

from control.candidates import CandidateKey
from control.evidence_feed import consumed
from control.layout import Layout
from control.secrets import load_secrets
from tests.control.stored import ROUTE, STUDENT, free_port
from tests.control.world import World
from tests.polling import until
from traces.record import RequestEnd, pack
from traces.spool import SpoolWriter
from traces.store import Store

TOML = """
[control]
admin_bind = "127.0.0.1:{port}"
data = "data"
tick_s = 0.05
collect_s = 0.05
[upstreams.up]
base_url = "http://127.0.0.1:9/v1"
[routes.{route}]
teacher = "up/m"
metric = "exact_match(answer)"
feedback = {{ truth = "all" }}
"""


class _Counts(msgspec.Struct):
    route: str
    traces: int


class Control:
    """`limbeck control` as a process."""

    def __init__(self, tmp_path: Path) -> None:
        self.port = free_port()
        self.layout = Layout(data=tmp_path / "data")
        self.config = tmp_path / "limbeck.toml"
        self.config.write_text(TOML.format(port=self.port, route=ROUTE))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = self.spawn()
        until(self.answers, seconds=30, what="control answers")

    def spawn(self) -> subprocess.Popen[bytes]:
        script = str(Path(sys.executable).with_name("limbeck"))
        return subprocess.Popen(
            [script, "control", "--config", str(self.config)], stderr=subprocess.PIPE
        )

    def answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.errors()
        try:
            return httpx.get(f"{self.base}/healthz", trust_env=False).is_success
        except httpx.HTTPError:
            return False

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, method: str, path: str, **body: Any) -> httpx.Response:
        key = load_secrets(self.layout.secrets).admin_key
        return httpx.request(
            method, f"{self.base}/admin/v1{path}", json=body or None, trust_env=False,
            headers={"authorization": f"Bearer {key}"}, timeout=20,
        )  # fmt: skip

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(30)
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.process = None
        return code

    def errors(self) -> str:
        assert self.process is not None and self.process.stderr is not None
        return self.process.stderr.read().decode()

    def record(self, n: int) -> list[str]:
        """What a gateway worker leaves behind: answered requests in the spool."""
        writer = SpoolWriter(self.layout.spool)
        ids = []
        for number in range(n):
            trace_id = str(fastuuid.uuid7())
            ids.append(trace_id)
            request = json.dumps({"messages": [{"role": "user", "content": f"q{number}"}]}).encode()
            answer = json.dumps({"choices": [{"message": {"content": "a"}}]}).encode()
            end = RequestEnd(
                trace_id=trace_id, worker="w1", ts_us=int(time.time() * 1e6), model=ROUTE,
                route=ROUTE, status=200, latency_us=1_000, request_len=len(request),
                content_type="application/json",
            )  # fmt: skip
            writer.append(pack(end, request, answer))
        writer.close()
        return ids


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    control = Control(tmp_path)
    yield control
    if control.process is not None:
        control.end(signal.SIGKILL)


def test_control_serves_collects_leads_alone_and_ends_cleanly(control: Control) -> None:
    control.start()
    # the key
    assert httpx.get(f"{control.base}/admin/v1/status", trust_env=False).status_code == 401
    # what workers recorded comes into the store, and is seen
    ids = control.record(20)
    until(lambda: control.call("GET", "/traces").json() != [], what="traces are collected")
    until(lambda: status(control)["traces"] == 20, what="all traces are counted")
    found = control.call("GET", f"/traces?limit=5&route={ROUTE}").json()
    assert len(found) == 5 and found[0]["trace_id"] == ids[-1] and found[0]["answer"] == "a"
    # mistakes
    unknown = control.call("GET", "/routes/nope/report")
    assert unknown.status_code == 404 and ROUTE in unknown.json()["error"]["message"]
    assert control.call("POST", f"/routes/{ROUTE}:explode").status_code == 400
    assert control.call("GET", "/traces?trace_id=nope").status_code == 400
    stale = control.call("POST", f"/routes/{ROUTE}:approve", report="0" * 64)
    assert stale.status_code == 412 and "waits for an approval" in stale.json()["error"]["message"]
    assert control.call("POST", f"/routes/{ROUTE}:pause").status_code == 409
    assert control.call("POST", f"/routes/{ROUTE}:approve", reprot="x").status_code == 400
    # a rollback of nothing is no error
    nothing = control.call("POST", f"/routes/{ROUTE}:rollback", actor="ann", reason="just in case")
    assert nothing.status_code == 200 and nothing.json()["changed"] is False
    report = control.call("GET", f"/routes/{ROUTE}/report?format=md")
    assert report.status_code == 200 and report.headers["content-type"].startswith("text/markdown")
    # a second control
    second = control.spawn()
    _, said = second.communicate(timeout=30)
    assert second.returncode != 0 and b"another limbeck control" in said
    # the last frames are drained
    control.record(5)
    assert control.end(signal.SIGTERM) == 0
    store = Store(control.layout.database)
    assert store.all("route_counts", _Counts)[0].traces == 25
    store.close()
    assert not list(control.layout.spool.glob("*.seg*"))


def test_what_was_answered_is_stored_once_across_a_kill(control: Control) -> None:
    control.start()
    total = 0
    for _ in range(3):
        total += len(control.record(300))
        until(lambda: status(control)["traces"] > 0, what="collecting has begun")
        control.end(signal.SIGKILL)
        control.start()
    until(lambda: status(control)["traces"] == total, what="everything is in, once")
    ticks = control.call("GET", "/status").json()["ticks"]
    assert {tick["name"]: tick["last_error"] for tick in ticks if tick["failures"]} == {}


@pytest.mark.slow
@pytest.mark.long
def test_each_pair_is_consumed_once_across_kills(control: Control) -> None:
    world = World(control.config.parent)
    world.register()
    world.add_pairs(4_000)
    key = CandidateKey(route=ROUTE, student=STUDENT, k=1)
    world.stop()
    for _ in range(3):
        control.start()
        until(lambda: evidence(control)["seq"] > 0, seconds=20, what="pairs are consumed")
        control.end(signal.SIGKILL)
    control.start()
    until(lambda: evidence(control)["seq"] == 4_000, seconds=30, what="all pairs are consumed")
    assert evidence(control)["n"] == 4_000
    assert control.end(signal.SIGTERM) == 0
    store = Store(control.layout.database)
    assert [row.seq for row in consumed(store, key)] == list(range(1, 4_001))
    store.close()


def evidence(control: Control) -> dict[str, Any]:
    found: dict[str, Any] = status(control)["students"][0]["evidence"]
    return found


def test_a_port_in_use_is_a_clear_message(control: Control) -> None:
    with socket.create_server(("127.0.0.1", control.port)):
        process = control.spawn()
        _, said = process.communicate(timeout=30)
    assert process.returncode != 0
    assert f"127.0.0.1:{control.port}" in said.decode() and "admin_bind" in said.decode()


def status(control: Control) -> dict[str, Any]:
    response = control.call("GET", "/status")
    assert response.status_code == 200, response.text
    route: dict[str, Any] = response.json()["routes"][0]
    return route
