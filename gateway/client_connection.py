"""A client's connection: uvicorn's HTTP protocol, with bounds on what comes before an answer.

uvicorn waits for ever for a request that has begun, takes a head of any size, answers broken HTTP
in plain text, and loses the body of a request that offers an upgrade (Java's client offers h2c).
"""

from __future__ import annotations

import asyncio

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.errors import Refusal
from gateway.gathering import GatheringTransport
from gateway.refuse import refusal_as_http

#: the key of the connection's transport in the state of an ASGI scope
CONNECTION = "connection"
#: the largest head of a request, beyond the read in which it begins
MAX_HEAD_BYTES = 64 * 1024
#: who is turned away may send on for so long: a close at once would take the answer away, seconds
LINGER_S = 2.0


class _Deaf:
    """Stands in for the parser where nothing more is read."""

    def feed_data(self, data: bytes) -> None:
        pass


_DEAF = _Deaf()


class ClientConnection(HttpToolsProtocol):
    """What `uvicorn.Config(http=...)` gets.

    A whole request must be there within ``timeout_keep_alive``, the time of an idle connection.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        gathering = GatheringTransport(transport, self.loop)
        super().connection_made(gathering)
        self.app_state = {**self.app_state, CONNECTION: gathering}
        self._late: asyncio.TimerHandle | None = None
        #: the scope of a request whose head is not complete
        self._open_head: object = None
        self._head_bytes = 0
        # A new connection may be as silent as one between two requests.
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_waiting()

    def data_received(self, data: bytes) -> None:
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                self._ignore_upgrade(data, offer)
        except httptools.HttpParserError as error:
            self._turn_away(
                Refusal(400, f"This is no HTTP that can be read: {error}.", code="invalid_http")
            )
            return
        cycle = self.cycle
        if (
            cycle is None
            or cycle.more_body
            or cycle.response_complete
            or cycle.scope is not self.scope
        ):
            self._wait_for_more(len(data))
        elif self._late is not None:
            self._stop_waiting()

    # Bounds

    def _wait_for_more(self, size: int) -> None:
        """A read of ``size`` bytes has left a request incomplete."""
        if self.parser is _DEAF:
            return
        if self._late is None:
            self._late = self.loop.call_later(self.timeout_keep_alive, self._is_late)
        if self.cycle is not None and self.cycle.scope is self.scope:
            self._open_head = None
            return
        if self._open_head is not self.scope:
            # The read in which a head begins is not counted: it may hold other requests.
            self._open_head = self.scope
            self._head_bytes = 0
            return
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            message = f"The request's headers are above {MAX_HEAD_BYTES} bytes."
            self._turn_away(Refusal(431, message, code="headers_too_large"))

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        self._open_head = None
        self._head_bytes = 0

    def _is_late(self) -> None:
        self._late = None
        if self._answering():
            # The client may wait for that answer before it goes on.
            self._late = self.loop.call_later(self.timeout_keep_alive, self._is_late)
            return
        message = f"The request was not complete within {self.timeout_keep_alive} s."
        self._turn_away(Refusal(408, message, code="request_timeout", should_retry=True))

    def _answering(self) -> bool:
        """Whether a request that came whole is being answered, or waits for its turn."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        return not cycle.more_body or cycle.scope is not self.scope or bool(self.pipeline)

    def _turn_away(self, refusal: Refusal) -> None:
        """Answer what never became a whole request, read no further, and close."""
        self._stop_waiting()
        self.parser = _DEAF
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if self._answering():
            cycle.keep_alive = False  # that answer goes out, and then the connection closes
            return
        if cycle is None or not cycle.response_complete or cycle.scope is not self.scope:
            self.transport.write(refusal_as_http(refusal))
        self.flow.resume_reading()
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.abort)

    # Upgrades

    def _should_upgrade(self) -> bool:
        """Keep uvicorn from answering a request that offers an upgrade: it is read once more."""
        return True

    def _ignore_upgrade(self, data: bytes | memoryview, offer: httptools.HttpParserUpgrade) -> None:
        """Read a request again as if it offered no upgrade, and then what follows its head.

        The parser takes everything behind the head for the other protocol, the body too.
        """
        while True:
            rest = memoryview(data)[offer.args[0] :]
            head = self._head_without_upgrade()
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.parser.feed_data(head)
            try:
                self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as another:
                data, offer = rest, another

    def _head_without_upgrade(self) -> bytes:
        method = self.scope["method"]
        if method == "CONNECT":
            raise httptools.HttpParserError("CONNECT is for proxies")
        version = self.parser.get_http_version()
        lines = [method.encode(), b" ", self.url, f" HTTP/{version}\r\n".encode()]
        for name, value in self.headers:
            if name != b"upgrade":
                lines += (name, b": ", value, b"\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)
