"""One request to an upstream, its answer as it arrives, and its deadlines."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from gateway.errors import GatewayError, UpstreamLost, UpstreamTimeout
from gateway.wheel import Timer, Wheel

if TYPE_CHECKING:
    from gateway.upstream.connection import Connection

#: no byte for so long in the middle of an answer: it is lost, seconds. As long as the openai SDK
#: waits: a model that reasons between two events of a stream is silent for minutes
IDLE_S = 600.0
#: unread bytes of a stream above which the upstream is held back
HIGH_WATER_BYTES = 256 * 1024
#: a reused connection that is lost sooner than this after the request was closed already, seconds;
#: later, the upstream may have worked on it, and would do so twice
STALE_S = 1.0
#: an upstream has so long to end an answer that nobody reads on, seconds
LET_GO_S = 1.0


class Source(Protocol):
    """Who has connections: the client."""

    name: str
    max_answer_bytes: int

    def connect(self, call: Call) -> None:
        """Give the call a connection, now or later; or let it fail."""


class Call(Timer):
    """One request and its answer. Made by `Client.ask`."""

    __slots__ = (
        "_answer_by",
        "_answer_late",
        "_body",
        "_carried_at",
        "_chunks",
        "_connection",
        "_error",
        "_head",
        "_idle_s",
        "_late",
        "_paused",
        "_retried",
        "_size",
        "_source",
        "_total_by",
        "_unread",
        "_waiter",
        "_wheel",
        "complete",
        "fresh",
        "head_ready",
        "headers",
        "last_byte",
        "name",
        "status",
        "streams",
    )

    def __init__(
        self,
        source: Source,
        wheel: Wheel,
        *,
        head: bytes,
        body: bytes,
        answer_by: float | None,
        total_by: float,
        idle_s: float,
        fresh: bool,
        answer_late: type[UpstreamTimeout],
        late: type[UpstreamTimeout],
    ) -> None:
        self._source = source
        self._wheel = wheel
        self._head = head
        self._body = body
        #: the answer must be usable by then: complete, or its first event if it streams
        self._answer_by = answer_by
        self._total_by = total_by
        #: what it fails with at these two
        self._answer_late = answer_late
        self._late = late
        self._idle_s = idle_s
        self._connection: Connection | None = None
        self._error: GatewayError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._unread = 0
        self._paused = False
        self._retried = False
        self._carried_at = 0.0
        #: the upstream's name, for messages
        self.name = f"upstream {source.name!r}"
        #: a connection of its own: it must be certain whether the request was delivered
        self.fresh = fresh
        self.status = 0
        #: names in lower case
        self.headers: dict[bytes, bytes] = {}
        self.head_ready = False
        self.streams = False
        self.complete = False
        self.last_byte = 0.0

    def start(self) -> None:
        """Ask for a connection and send the request."""
        by = self._total_by if self._answer_by is None else min(self._answer_by, self._total_by)
        self._wheel.add(self, by)
        self._source.connect(self)

    # What the one who asked does

    async def head(self) -> None:
        """Wait for status and headers."""
        while not self.head_ready:
            await self._wait()

    async def whole(self) -> bytes:
        """Wait for the whole body."""
        while not self.complete:
            await self._wait()
        chunks = self._chunks
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def read(self) -> bytes:
        """Return what has arrived since the last read, waiting for it; empty at the end."""
        while not self._chunks:
            if self.complete:
                return b""
            await self._wait()
        chunks, self._chunks = self._chunks, []
        self._unread = 0
        if self._paused and self._connection is not None:
            self._paused = False
            self.last_byte = self._wheel.now
            self._connection.resume()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def fail(self, error: GatewayError) -> None:
        """Give the call up; who waits for it gets the error."""
        if self.complete or self._error is not None:
            return
        self._error = error
        self._wheel.remove(self)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        self._wake()

    def has_begun(self) -> None:
        """A stream's first event is there: from here on only the whole time and silence count."""
        self._answer_by = None

    def let_go(self) -> None:
        """Nobody reads on: an upstream that does not end its answer soon loses its connection."""
        if self.complete or self._error is not None:
            return
        self._wheel.remove(self)
        self._total_by = self._wheel.now + LET_GO_S
        self._wheel.add(self, self._total_by)

    @property
    def waits_for_connection(self) -> bool:
        return self._connection is None and self._error is None and not self.complete

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        except asyncio.CancelledError:
            self.fail(UpstreamLost("the request was cancelled"))
            raise
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the connection reports

    def carry(self, connection: Connection) -> None:
        """Send the request on this connection."""
        self._connection = connection
        self._carried_at = self._wheel.now
        connection.send(self, self._head, self._body)

    def on_head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self.status = status
        self.headers = headers
        content_type = headers.get(b"content-type", b"")
        self.streams = status < 300 and content_type.lower().startswith(b"text/event-stream")
        self.head_ready = True

    def on_body(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        self._unread += len(data)

    def on_progress(self) -> None:
        """Some bytes arrived, and more are to come."""
        first, self.last_byte = not self.last_byte, self._wheel.now
        if first:
            # From here on silence counts.
            self._wheel.remove(self)
            self._wheel.add(self, self._next_due(self.last_byte))
        if self._size > self._source.max_answer_bytes:
            limit = self._source.max_answer_bytes
            self.fail(UpstreamLost(f"{self.name}: an answer above {limit} bytes"))
            return
        if self.streams and self._unread > HIGH_WATER_BYTES and self._connection is not None:
            self._paused = True
            self._connection.pause()
        if self._waiter is not None:
            self._wake()

    def on_complete(self) -> None:
        self.complete = True
        self._connection = None
        self._wheel.remove(self)
        self._wake()

    def on_lost(self, error: UpstreamLost) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and connection.was_idle and self._is_stale():
            # The upstream closed an idle connection just as we wrote to it.
            self._retried = True
            self.fresh = True
            self._source.connect(self)
            return
        self.fail(error)

    def _is_stale(self) -> bool:
        """Whether a lost connection was closed before the request came: not one byte, and soon."""
        soon = self._wheel.now < self._carried_at + STALE_S
        return soon and not self.last_byte and not self._retried

    # Deadlines

    def on_due(self, now: float) -> None:
        if self.complete or self._error is not None:
            return
        if now >= self._total_by:
            self._fail_late(self._late(f"{self.name} did not finish its answer in time"))
        elif self._answer_by is not None and now >= self._answer_by:
            self._fail_late(self._answer_late(f"{self.name} did not answer in time"))
        elif self.last_byte and not self._paused and now >= self.last_byte + self._idle_s:
            self.fail(UpstreamTimeout(f"{self.name} was silent for {self._idle_s:.0f} s"))
        else:
            self._wheel.add(self, self._next_due(now))

    def _fail_late(self, error: UpstreamTimeout) -> None:
        # Without a connection so far nobody has seen the request.
        error.repeatable = error.repeatable or not self._carried_at
        self.fail(error)

    def _next_due(self, now: float) -> float:
        due = self._total_by
        if self._answer_by is not None:
            due = min(due, self._answer_by)
        if self.last_byte:
            due = min(due, (now if self._paused else self.last_byte) + self._idle_s)
        return due
