from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from gateway.allocator import keep_big_buffers
from gateway.gathering import GatheringTransport


class _Written(asyncio.Transport):
    """A transport that notes what is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[Any] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.done.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.done.append(list(list_of_data))

    def close(self) -> None:
        self.done.append("close")

    def abort(self) -> None:
        self.done.append("abort")

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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_the_c_library_understands() -> None:
    assert keep_big_buffers()
