"""One kept-alive HTTP/1.1 connection to an upstream. It knows one call at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

import httptools

from gateway.errors import UpstreamLost

if TYPE_CHECKING:
    from gateway.upstream.call import Call

#: a body above this is written in pieces, so that it is not copied once more
_JOIN_BELOW = 64 * 1024


class Owner(Protocol):
    """Who keeps connections: the client."""

    def released(self, connection: Connection) -> None:
        """The answer is complete, the connection can serve another call."""

    def lost(self, connection: Connection) -> None:
        """The connection is closed."""


class Connection(asyncio.Protocol):
    """Writes a request, parses the answer, and hands what arrives to the call."""

    __slots__ = (
        "_complete",
        "_headers",
        "_keep_alive",
        "_owner",
        "_parser",
        "_transport",
        "call",
        "calls",
        "idle_since",
    )

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._complete = False
        self._keep_alive = False
        self._headers: list[tuple[bytes, bytes]] = []
        self.call: Call | None = None
        #: how many calls it has carried
        self.calls = 0
        self.idle_since = 0.0

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def was_idle(self) -> bool:
        """Whether it was open before its call came, so that the upstream may have closed it."""
        return self.calls > 1 or self.idle_since > 0

    def send(self, call: Call, head: bytes, body: bytes) -> None:
        """Carry a call; only an idle connection can."""
        assert self._transport is not None
        self.call = call
        self.calls += 1
        self._complete = False
        if len(body) < _JOIN_BELOW:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    def abort(self) -> None:
        """Close at once, whatever is on its way."""
        self.call = None
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        if self._transport is not None and self.usable:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and self.usable:
            self._transport.resume_reading()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        call = self.call
        if call is None:
            # Nobody asked: whatever this is, it must not become somebody's answer.
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._complete:
                call.fail(UpstreamLost(f"{call.name} answered with broken HTTP: {error}"))
                self.abort()
                return
            # The answer is whole; only what follows it is broken.
            self._keep_alive = False
        if self._complete:
            self._finish(call)
        elif self.call is call:
            call.on_progress()

    def connection_lost(self, exc: Exception | None) -> None:
        call, self.call = self.call, None
        self._owner.lost(self)
        if call is None:
            return
        framed = b"content-length" in call.headers or b"transfer-encoding" in call.headers
        if call.head_ready and not framed and exc is None:
            # The answer does not say where it ends: it ends with the connection.
            call.on_complete()
        else:
            reason = str(exc) if exc is not None else "the connection was closed"
            call.on_lost(UpstreamLost(f"{call.name} broke off: {reason}"))

    def _finish(self, call: Call) -> None:
        self.call = None
        if self._keep_alive and self.usable:
            self._owner.released(self)
        else:
            self.abort()
        call.on_complete()

    # httptools' callbacks

    def on_message_begin(self) -> None:
        # The last answer's trailers may be left.
        self._headers = []
        if self._complete:
            # A second answer to one request: the connection is out of step.
            self._keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        # Below 200 are 100 Continue and the like: the answer is still to come.
        if self.call is not None and not self._complete and status >= 200:
            self.call.on_head(status, dict(self._headers))

    def on_body(self, body: bytes) -> None:
        if self.call is not None and not self._complete:
            self.call.on_body(body)

    def on_message_complete(self) -> None:
        if self.call is not None and self.call.head_ready and not self._complete:
            self._complete = True
            self._keep_alive = self._parser.should_keep_alive()
