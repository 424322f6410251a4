"""The core behind an exchange of the test's own: what happens when the way back fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.breakers import Breakers
from gateway.capture import Capture
from gateway.compile import Compiler
from gateway.core import Core
from gateway.counters import Counters
from gateway.exchange import Headers
from gateway.wheel import Wheel
from tests.fakes.upstream import FakeUpstream
from tests.gateway.rig import snapshot
from traces.record import RequestEnd, unpack
from traces.spool import Recorder, SpoolWriter, list_segments, read_frames


class BrokenExchange:
    """Fails at the first start, or at the last byte; what comes later goes through."""

    def __init__(
        self, *, at_start: type[BaseException] | None = None, at_end: bool = False
    ) -> None:
        self._at_start = at_start
        self._at_end = at_end
        self.statuses: list[int] = []
        self.sent = b""
        self.body = b""

    async def read(self, limit: int) -> bytes:
        return self.body

    async def start(self, status: int, headers: Headers) -> None:
        self.statuses.append(status)
        if self._at_start is not None and len(self.statuses) == 1:
            raise self._at_start("on purpose")

    async def send(self, chunk: bytes, *, last: bool) -> None:
        if self._at_end:
            raise asyncio.CancelledError
        self.sent += chunk

    def watch(self, left: Callable[[], None]) -> None:
        pass

    def abort(self) -> None:
        pass


class Bench:
    """One core on a real upstream and a real spool."""

    def __init__(
        self, folder: Path, base_url: str, *, audit: bool = False, max_bytes: int | None = None
    ) -> None:
        self.folder = folder
        self.counters = Counters()
        self.wheel = Wheel()
        self.compiler = Compiler(self.wheel, {})
        in_force = self.compiler.compile(snapshot(base_url), {})
        self.recorder = Recorder(lambda: SpoolWriter(folder, max_bytes=max_bytes), worker="w1")
        self.core = Core(
            in_force=lambda: in_force,
            breakers=Breakers(),
            capture=Capture(self.recorder, "w1"),
            counters=self.counters,
            wheel=self.wheel,
            may_record=self.recorder.ready if audit else None,
        )

    async def ask(self, exchange: BrokenExchange, *, stream: bool = False) -> None:
        messages = [{"role": "user", "content": "hello"}]
        asked = {"model": "triage", "messages": messages, "stream": stream}
        exchange.body = exchange.body or json.dumps(asked).encode()
        try:
            await self.core.answer([], exchange)
        finally:
            await self.compiler.close()
            self.recorder.close()

    def ends(self) -> list[RequestEnd]:
        headers = [
            unpack(payload)[0]
            for segment in list_segments(self.folder)
            for payload in read_frames(segment.path, 0).payloads
        ]
        return [header for header in headers if isinstance(header, RequestEnd)]


async def test_a_fault_of_the_gateway_is_recorded_and_answered(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    bench = Bench(tmp_path, upstream.base_url)
    exchange = BrokenExchange(at_start=RuntimeError)
    await bench.ask(exchange, stream=True)
    assert exchange.statuses == [200, 500]
    assert [(end.status, end.finish) for end in bench.ends()] == [(500, "internal_error")]
    assert bench.counters.requests.total() == 1


async def test_a_request_is_counted_and_recorded_once(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    bench = Bench(tmp_path, upstream.base_url)
    with pytest.raises(asyncio.CancelledError):
        await bench.ask(BrokenExchange(at_end=True))
    assert len(bench.ends()) == 1
    assert bench.counters.requests.total() == 1
    assert bench.counters.open == 0


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_the_policy_audit_withholds_what_is_not_on_record(
    tmp_path: Path, upstream: FakeUpstream, stream: bool
) -> None:
    big = {"model": "triage", "messages": [], "stream": stream, "user": "x" * 100_000}
    bench = Bench(tmp_path, upstream.base_url, audit=True, max_bytes=64 * 1024)
    assert bench.recorder.ready()  # there is room, but not for this one
    exchange = BrokenExchange()
    exchange.body = json.dumps(big).encode()
    await bench.ask(exchange)
    assert len(upstream.received) == 1
    assert bench.ends() == []
    assert exchange.statuses == [200 if stream else 503]
    assert b'"spool_full"' in exchange.sent
    assert b"[DONE]" not in exchange.sent
    assert [labels[3] for labels in bench.counters.requests] == [503]


async def test_the_policy_audit_withholds_no_error(tmp_path: Path, upstream: FakeUpstream) -> None:
    bench = Bench(tmp_path, upstream.base_url, audit=True, max_bytes=64 * 1024)
    exchange = BrokenExchange()
    asked = {"model": "triage", "messages": [], "user": "x" * 100_000}
    exchange.body = json.dumps({**asked, "metadata": {"fake": "status=429"}}).encode()
    await bench.ask(exchange)
    assert (exchange.statuses, bench.ends()) == ([429], [])
    assert [labels[3] for labels in bench.counters.requests] == [429]


async def test_availability_passes_on_what_is_not_on_record(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    bench = Bench(tmp_path, upstream.base_url, max_bytes=64 * 1024)
    exchange = BrokenExchange()
    exchange.body = json.dumps({"model": "triage", "messages": [], "user": "x" * 100_000}).encode()
    await bench.ask(exchange)
    assert exchange.statuses == [200]
    assert bench.ends() == []


async def test_a_fault_before_anything_is_known_is_counted(tmp_path: Path) -> None:
    class Unreadable(BrokenExchange):
        async def read(self, limit: int) -> bytes:
            raise RuntimeError("on purpose")

    bench = Bench(tmp_path, "http://127.0.0.1:1/v1")
    exchange = Unreadable()
    await bench.ask(exchange)
    assert exchange.statuses == [500]
    assert dict(bench.counters.requests) == {("", "gateway", "refused", 500): 1}


async def test_a_refusal_is_counted_and_not_timed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "http://127.0.0.1:1/v1")
    exchange = BrokenExchange()
    exchange.body = b"no JSON"
    await bench.ask(exchange)
    assert dict(bench.counters.requests) == {("", "gateway", "refused", 400): 1}
    assert bench.counters.buckets == {}
