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
from gateway.exchange import Headers, Request
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

    async def start(self, status: int, headers: Headers) -> None:
        self.statuses.append(status)
        if self._at_start is not None and len(self.statuses) == 1:
            raise self._at_start("on purpose")

    async def send(self, chunk: bytes, *, last: bool) -> None:
        if self._at_end:
            raise asyncio.CancelledError

    def watch(self, left: Callable[[], None]) -> None:
        pass


class Bench:
    """One core on a real upstream and a real spool."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self.folder = folder
        self.counters = Counters()
        self.wheel = Wheel()
        self.compiler = Compiler(self.wheel, {})
        in_force = self.compiler.compile(snapshot(base_url), {})
        self.recorder = Recorder(lambda: SpoolWriter(folder), worker="w1")
        self.core = Core(
            in_force=lambda: in_force,
            breakers=Breakers(),
            capture=Capture(self.recorder, "w1"),
            counters=self.counters,
            wheel=self.wheel,
            may_record=None,
        )

    async def ask(self, exchange: BrokenExchange, *, stream: bool = False) -> None:
        messages = [{"role": "user", "content": "hello"}]
        body = json.dumps({"model": "triage", "messages": messages, "stream": stream}).encode()
        try:
            await self.core.answer(Request(headers=[], body=body), exchange)
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
