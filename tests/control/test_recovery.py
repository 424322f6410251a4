"""Availability faults and the way back, with control's own parts."""

from __future__ import annotations

import fcntl
import http.server
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from control.addresses import load_addresses
from control.collecting import Known
from control.layout import Layout
from router.snapshot import Acknowledgement
from router.stages import HeldReason, Stage
from tests.control.stored import ROUTE, STUDENT, put_trace
from tests.control.world import World

GUARD = {"breakers_open_s": 0.2, "return_dwell_s": [0.1, 0.1, 0.1, 0.1]}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, guard=GUARD)
    yield world
    world.stop()


@contextmanager
def student_server(world: World) -> Iterator[None]:
    """Somebody answers the probes."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    address = load_addresses(world.layout.addresses).student_server
    server = http.server.ThreadingHTTPServer((address.host, address.port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def worker_with_open_breaker(layout: Layout, *, since: float) -> Iterator[None]:
    """The acknowledgement of a live worker."""
    said = Acknowledgement(
        worker="w1", pid=1, epoch=1, version=1, time=since, breakers={f"{ROUTE}/{STUDENT}": since}
    )
    layout.acknowledgements.mkdir(exist_ok=True)
    path = layout.acknowledgements / "w1.json"
    path.write_bytes(msgspec.json.encode(said))
    descriptor = os.open(path, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


def tick(world: World, *, open_from: float | None = None) -> Stage:
    """Everything that has ended is known; ``open_from``: a request of then is open."""
    held_up = {} if open_from is None else {ROUTE: open_from}
    world.parts.reconciler.reconcile(Known(collected_to=time.time(), open_from=held_up))
    return world.rollout.stage


def reason(world: World) -> str:
    return world.parts.reconciler.reasons[(ROUTE, STUDENT)]


async def probed(world: World) -> Stage:
    await world.parts.probes.probe()
    return tick(world)


def start_again(world: World) -> None:
    world.stop()
    world.start()


async def returns(world: World, stage: Stage) -> None:
    deadline = time.monotonic() + 10
    while await probed(world) is not stage:
        assert time.monotonic() < deadline, reason(world)


async def test_a_held_student_returns_though_the_workers_breakers_stay_open(world: World) -> None:
    """Breakers close on live requests only, and a student that is held gets none."""
    world.to_stage(Stage.LIVE)
    start_again(world)
    with worker_with_open_breaker(world.layout, since=time.time() - 100):
        assert tick(world) is Stage.HELD
        assert world.rollout.reasons == (HeldReason.AVAILABILITY,) and world.rollout.weight == 0
        with student_server(world):
            await returns(world, Stage.LIVE)


async def test_a_resting_student_is_probed_and_comes_back(world: World) -> None:
    world.register()
    deadline = time.monotonic() + 10
    while world.rollout.unhealthy_since is None:
        assert await probed(world) is Stage.SHADOW
        assert time.monotonic() < deadline, reason(world)
    assert world.parts.facts.candidates() == (), "it is left alone"
    with student_server(world):
        while world.rollout.unhealthy_since is not None:
            assert await probed(world) is Stage.SHADOW
            assert time.monotonic() < deadline, reason(world)
        (candidate,) = world.parts.facts.candidates()
    assert candidate.student == STUDENT


async def test_a_start_in_the_middle_of_an_outage_is_no_recovery(world: World) -> None:
    world.to_stage(Stage.R50)
    start_again(world)
    with worker_with_open_breaker(world.layout, since=time.time() - 100):
        assert tick(world) is Stage.HELD
    start_again(world)
    began = time.monotonic()
    while time.monotonic() - began < 0.3:
        assert tick(world) is Stage.HELD
    assert "unhealthy" in reason(world), "nobody has asked it yet"
    assert await probed(world) is Stage.HELD
    assert "unhealthy" in reason(world), "it does not answer"
    with student_server(world):
        await returns(world, Stage.R50)


def test_a_request_that_takes_minutes_hides_no_outage(world: World) -> None:
    """It holds up the pairs of its route: a failure is known when it ends."""
    world.to_stage(Stage.LIVE)
    start_again(world)
    began = time.time()
    tick(world, open_from=began)
    failed = {"fallback": "timeout", "fallback_student": STUDENT, "student_ms": 1.0}
    for _ in range(10):
        put_trace(world.parts.store, time.time() - 0.01, **failed, latency_ms=2.0)
    assert tick(world, open_from=began) is Stage.HELD
    assert world.rollout.reasons == (HeldReason.AVAILABILITY,)
