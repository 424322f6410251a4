"""The connections to one upstream: newest idle one first, bounded in number and in idle time."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections import deque

from gateway.errors import ConnectFailed, UpstreamTimeout
from gateway.upstream.address import Address, request_head
from gateway.upstream.call import IDLE_S, Call
from gateway.upstream.connection import Connection
from gateway.wheel import Timer, Wheel

CONNECT_S = 10.0
#: an unused connection is closed after this, seconds
IDLE_CONNECTION_S = 30.0
MAX_CONNECTIONS = 1024
#: the largest answer that a worker holds
MAX_ANSWER_BYTES = 64 * 1024 * 1024
#: calls that wait for a connection; more are refused
MAX_WAITING = 1024
_SWEEP_S = 5.0


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


class Client(Timer):
    """Asks one upstream. Lives on one event loop."""

    __slots__ = (
        "_address",
        "_connections",
        "_dials",
        "_idle",
        "_retired",
        "_waiting",
        "_wheel",
        "head",
        "max_answer_bytes",
        "max_connections",
        "name",
    )

    def __init__(
        self,
        name: str,
        address: Address,
        api_key: str | None,
        wheel: Wheel,
        *,
        max_connections: int = MAX_CONNECTIONS,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self.name = name
        self.max_answer_bytes = max_answer_bytes
        self.max_connections = max_connections
        #: the head of every request, without the headers that vary
        self.head = request_head(address, api_key)
        self._address = address
        self._wheel = wheel
        self._idle: list[Connection] = []
        self._connections: set[Connection] = set()
        self._dials: set[asyncio.Task[None]] = set()
        self._waiting: deque[Call] = deque()
        self._retired = False
        wheel.add(self, wheel.now + _SWEEP_S)

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    @property
    def idle_connections(self) -> int:
        return len(self._idle)

    def ask(
        self,
        headers: bytes,
        body: bytes,
        *,
        total_by: float,
        answer_by: float | None = None,
        idle_s: float = IDLE_S,
        fresh: bool = False,
        answer_late: type[UpstreamTimeout] = UpstreamTimeout,
        late: type[UpstreamTimeout] = UpstreamTimeout,
    ) -> Call:
        """Send a chat completion.

        ``headers`` are complete lines, without ``content-length``. The deadlines are times of
        `time.monotonic`: ``answer_by`` for the whole answer, of a stream until `Call.has_begun`;
        ``total_by`` for everything; a call that misses them fails with ``answer_late`` or ``late``.
        ``idle_s`` is the longest silence inside an answer. A ``fresh`` call has a connection of its
        own and is never sent twice.
        """
        call = Call(
            self,
            self._wheel,
            head=b"%s%scontent-length: %d\r\n\r\n" % (self.head, headers, len(body)),
            body=body,
            answer_by=answer_by,
            total_by=total_by,
            idle_s=idle_s,
            fresh=fresh,
            answer_late=answer_late,
            late=late,
        )
        call.start()
        return call

    def connect(self, call: Call) -> None:
        """Give the call an idle connection, or a new one, or let it wait for one."""
        while self._idle and not call.fresh:
            connection = self._idle.pop()
            if connection.usable:
                call.carry(connection)
                return
        if len(self._connections) + len(self._dials) < self.max_connections:
            self._dial(call)
            if not call.fresh:
                # Whichever comes first serves it: the new connection, or one that is released.
                self._waiting.append(call)
        elif len(self._waiting) >= MAX_WAITING:
            call.fail(
                ConnectFailed(f"{call.name}: all {self.max_connections} connections are busy")
            )
        else:
            self._waiting.append(call)
            if self._idle:
                self._idle.pop(0).abort()

    def retire(self) -> None:
        """The upstream is gone from the snapshot: close what is idle, let calls finish."""
        self._retired = True
        self._wheel.remove(self)
        self._close_idle(unused_since=float("inf"))

    async def close(self) -> None:
        """Close everything."""
        self.retire()
        for task in list(self._dials):
            task.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)
        for connection in list(self._connections):
            connection.abort()

    def on_due(self, now: float) -> None:
        self._close_idle(unused_since=now - IDLE_CONNECTION_S)
        self._wheel.add(self, now + _SWEEP_S)

    # What connections report

    def released(self, connection: Connection) -> None:
        waiting = self._waiting
        while waiting:
            call = waiting.popleft()
            if not call.waits_for_connection:
                continue
            if call.fresh:
                # It needs a new connection; closing this one makes room.
                waiting.appendleft(call)
                connection.abort()
            else:
                call.carry(connection)
            return
        if self._retired:
            connection.abort()
            return
        connection.idle_since = self._wheel.now
        self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._dial_for_waiting()

    def _dial_for_waiting(self) -> None:
        while self._waiting and not self._waiting[0].waits_for_connection:
            self._waiting.popleft()
        room = self.max_connections - len(self._connections) - len(self._dials)
        if self._waiting and room > 0 and len(self._dials) < len(self._waiting):
            call = self._waiting[0]
            if call.fresh:
                self._waiting.popleft()
            self._dial(call)

    def _dial(self, call: Call) -> None:
        task = asyncio.get_running_loop().create_task(self._open(call))
        self._dials.add(task)
        task.add_done_callback(self._dialled)

    def _dialled(self, task: asyncio.Task[None]) -> None:
        self._dials.discard(task)
        self._dial_for_waiting()

    async def _open(self, call: Call) -> None:
        address = self._address
        loop = asyncio.get_running_loop()
        connection = Connection(self)
        try:
            async with asyncio.timeout(CONNECT_S):
                await loop.create_connection(
                    lambda: connection,
                    address.host,
                    address.port,
                    ssl=_tls() if address.tls else None,
                    server_hostname=address.host if address.tls else None,
                )
        except TimeoutError:
            problem = f"no connection within {CONNECT_S:.0f} s"
        except (OSError, ValueError) as error:
            # ValueError: a name that can't be one of a host, as late as the look-up finds out
            problem = str(error)
        else:
            self._connections.add(connection)
            if call.waits_for_connection:
                call.carry(connection)
            else:
                self.released(connection)
            return
        if call.waits_for_connection:
            where = f"{call.name} at {address.authority}"
            call.fail(ConnectFailed(f"{where} can't be reached: {problem}"))

    def _close_idle(self, *, unused_since: float) -> None:
        idle = self._idle
        while idle and (idle[0].idle_since < unused_since or not idle[0].usable):
            idle.pop(0).abort()
