"""A transport that sends all that is written in one turn of the loop as one write.

uvicorn writes head, body and the end of a body one by one, and uvloop sends each at once: a system
call and a packet each. Only public methods of `asyncio` are used.
"""

from __future__ import annotations

import asyncio
from typing import Any

#: above this a body is written as it is: joining would copy it for nothing
_JOIN_BELOW = 64 * 1024
#: what a client has not read so long after the connection was closed is dropped, seconds
CLOSE_S = 60.0


class GatheringTransport(asyncio.Transport):
    """Passes everything on, writes at the end of the loop's turn."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._pending: list[bytes] = []
        self._lingers = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(bytes(data))
        if len(data) > _JOIN_BELOW:
            self._flush()

    def _flush(self) -> None:
        pending = self._pending
        if not pending:
            return
        self._pending = []
        if self.is_closing():
            return
        if len(pending) == 1:
            self._transport.write(pending[0])
        elif len(pending[-1]) > _JOIN_BELOW:
            self._transport.writelines(pending)
        else:
            self._transport.write(b"".join(pending))

    def write_eof(self) -> None:
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        self._flush()
        self._transport.close()
        # The loop writes at the end of its turn: what is left then waits for the client.
        self._loop.call_soon(self._bound_close)

    def linger(self, seconds: float) -> None:
        """Write no more, read on for ``seconds``, or until the client closes, and then close.

        A close over bytes that nobody has read resets the connection: the client would lose the
        answer that it has not read yet.
        """
        if self.is_closing():
            return
        self.write_eof()
        self._lingers = True
        self._transport.resume_reading()
        self._loop.call_later(seconds, GatheringTransport.close, self)

    def _bound_close(self) -> None:
        """See to it that a client that does not read can't keep a closed connection for ever."""
        if self._transport.get_write_buffer_size():
            self._loop.call_later(CLOSE_S, self._transport.abort)

    def abort(self) -> None:
        self._pending.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._lingers or self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def is_reading(self) -> bool:
        return self._transport.is_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._transport.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._transport.get_protocol()
