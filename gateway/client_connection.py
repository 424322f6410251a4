"""A client's connection: uvicorn's HTTP protocol, with bounds on what comes before an answer.

uvicorn waits for ever for a request that has begun, takes a head of any size, answers broken HTTP
in plain text, loses the body of a request that offers an upgrade (Java's client offers h2c), and
closes over what it has not read, which takes its answer away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.errors import Refusal
from gateway.gathering import GatheringTransport
from gateway.refuse import refusal_as_http

#: the key of the connection's transport in the state of an ASGI scope
CONNECTION = "connection"
#: the largest head of a request, beyond the read in which it begins
MAX_HEAD_BYTES = 64 * 1024
#: a body comes at least so fast, on the average of ``timeout_keep_alive``; bytes a second
MIN_BODY_RATE = 8 * 1024
#: a client whose request was not read to its end may send on for so long, seconds
LINGER_S = 2.0

logger = logging.getLogger(__name__)


class ClientConnection(HttpToolsProtocol):
    """What `uvicorn.Config(http=...)` gets, with ``refused`` bound to what counts a status.

    A head must be there within ``timeout_keep_alive``, the time of an idle connection. A body may
    take longer, as long as it comes at `MIN_BODY_RATE`.
    """

    def __init__(self, *args: Any, refused: Callable[[int], None], **more: Any) -> None:
        super().__init__(*args, **more)
        self._refused = refused
        #: nothing more is read
        self._deaf = False
        #: the scope of the last request that came whole
        self._whole: object = None
        #: the scope of the request that is incomplete, and what has come of it
        self._awaited: object = None
        self._head_bytes = 0
        self._body_bytes = 0
        #: runs while a request is incomplete
        self._late: asyncio.TimerHandle | None = None
        self._body_bytes_before = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._gathering = _ClientTransport(transport, self)
        super().connection_made(self._gathering)
        self.app_state = {**self.app_state, CONNECTION: self._gathering}
        # A new connection may be as silent as one between two requests.
        self._wait_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_waiting()

    def data_received(self, data: bytes) -> None:
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        if self._deaf:
            return
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
        if self.incomplete:
            self._wait_for_more(len(data))
            return
        if self._late is not None:
            self._stop_waiting()
        if self.cycle is None or self.cycle.response_complete:
            # An empty line, or the end of a request that was refused before.
            self._wait_idle()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._whole = self.scope

    def on_response_complete(self) -> None:
        if self._deaf and not self.pipeline:
            self.transport.close()
        super().on_response_complete()
        if self._late is not None and not self.transport.is_closing():
            # The next request has begun; its client may have waited for this answer.
            self._unset_keepalive_if_required()
            self._restart_late()

    # Bounds

    @property
    def incomplete(self) -> bool:
        """Whether a request has begun that has not come whole."""
        return self.scope is not self._whole

    def read_no_more(self) -> None:
        """Drop whatever comes from now on."""
        self._deaf = True
        self._stop_waiting()

    def _wait_idle(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _wait_for_more(self, size: int) -> None:
        """A read of ``size`` bytes has left a request incomplete."""
        begins = self._awaited is not self.scope
        if begins:
            self._awaited = self.scope
            self._head_bytes = self._body_bytes = 0
            self._restart_late()
        if self.cycle is not None and self.cycle.scope is self.scope:
            self._body_bytes += len(self.cycle.body)
        elif not begins:
            # The read in which a head begins is not counted: it may hold other requests.
            self._head_bytes += size
            if self._head_bytes > MAX_HEAD_BYTES:
                message = f"The request's headers are above {MAX_HEAD_BYTES} bytes."
                self._turn_away(Refusal(431, message, code="headers_too_large"))

    def _restart_late(self) -> None:
        if self._late is not None:
            self._late.cancel()
        self._body_bytes_before = self._body_bytes
        self._late = self.loop.call_later(self.timeout_keep_alive, self._is_late)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        self._awaited = None

    def _is_late(self) -> None:
        came = self._body_bytes - self._body_bytes_before
        if self._answering() or came >= MIN_BODY_RATE * self.timeout_keep_alive:
            # The client may wait for that answer before it goes on; or its line is slow.
            self._restart_late()
            return
        message = f"The request was not complete within {self.timeout_keep_alive} s."
        if self._body_bytes:
            message = (
                f"The request's body came at less than {MIN_BODY_RATE} bytes/s in the last "
                f"{self.timeout_keep_alive} s."
            )
        # A slow line would only be as slow once more.
        retry = None if self._body_bytes else True
        self._turn_away(Refusal(408, message, code="request_timeout", should_retry=retry))

    def _answering(self) -> bool:
        """Whether a request that came whole is being answered, or waits for its turn."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        return not cycle.more_body or cycle.scope is not self.scope or bool(self.pipeline)

    def _turn_away(self, refusal: Refusal) -> None:
        """Answer what never became a whole request, read no further, and close."""
        self.read_no_more()
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if self._answering():
            # That answer goes out, and then the connection closes.
            if self.pipeline and self.pipeline[0][0].more_body:
                self.pipeline.popleft()  # its body would never come
            else:
                cycle.keep_alive = False
            return
        if cycle is None or not cycle.response_started or cycle.scope is not self.scope:
            self._refused(refusal.status)
            logger.info("%s is turned away: %d %s", self.client, refusal.status, refusal.message)
            self.transport.write(refusal_as_http(refusal))
        self._gathering.linger(LINGER_S)

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


class _ClientTransport(GatheringTransport):
    """Lingers where a close would be over what the client still sends."""

    def __init__(self, transport: asyncio.Transport, connection: ClientConnection) -> None:
        super().__init__(transport, connection.loop)
        self._connection = connection

    def close(self) -> None:
        if self._connection.incomplete:
            self._connection.read_no_more()
            self.linger(LINGER_S)
        else:
            super().close()
