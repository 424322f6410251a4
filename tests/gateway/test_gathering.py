from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest

from gateway.allocator import keep_big_buffers
from gateway.gathering import CLOSE_S, GatheringTransport


class _Written(asyncio.Transport):
    """A transport that notes what is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[Any] = []
        self.unread = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.done.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.done.append(list(list_of_data))

    def close(self) -> None:
        self.done.append("close")

    def abort(self) -> None:
        self.done.append("abort")

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return "close" in self.done or "abort" in self.done


def _gathering() -> tuple[_Written, GatheringTransport]:
    written = _Written()
    return written, GatheringTransport(written, asyncio.get_running_loop())


async def test_one_turn_of_the_loop_is_one_write() -> None:
    written, transport = _gathering()
    for part in (b"head", b"body", b"end"):
        transport.write(part)
    assert written.done == []
    await asyncio.sleep(0)
    transport.write(b"next")
    await asyncio.sleep(0)
    assert written.done == [b"headbodyend", b"next"]


async def test_a_big_body_is_not_copied() -> None:
    written, transport = _gathering()
    big = b"x" * 100_000
    transport.write(b"head")
    transport.write(big)
    assert written.done == [[b"head", big]]
    await asyncio.sleep(0)
    assert len(written.done) == 1


async def test_what_was_written_comes_before_the_close() -> None:
    written, transport = _gathering()
    transport.write(b"last words")
    transport.close()
    transport.write(b"too late")
    await asyncio.sleep(0)
    assert written.done == [b"last words", "close"]


async def test_an_abort_drops_what_was_written() -> None:
    written, transport = _gathering()
    transport.write(b"unsaid")
    transport.abort()
    await asyncio.sleep(0)
    assert written.done == ["abort"]


class _Later:
    """Stands in for a loop: notes what is to be called, and when."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []
        self.later: list[tuple[float, Callable[[], None]]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self.later.append((delay, callback))


@pytest.mark.parametrize("unread", [0, 1])
def test_what_nobody_reads_is_dropped_some_time_after_the_close(unread: int) -> None:
    loop: Any = _Later()
    written = _Written()
    written.unread = unread
    GatheringTransport(written, loop).close()
    for callback in loop.soon:
        callback()
    for delay, callback in loop.later:
        assert delay == CLOSE_S
        callback()
    assert written.done == (["close", "abort"] if unread else ["close"])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_the_c_library_understands() -> None:
    assert keep_big_buffers()
