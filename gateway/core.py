"""The core: admit, decide, splice, forward, capture. It does not know how bytes arrive.

Failure means teacher: no fault of a student or of recording fails a caller's request.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from fastuuid import uuid7

from gateway.admission import admit, let_in
from gateway.breakers import Breakers
from gateway.capture import Capture
from gateway.counters import Counters
from gateway.errors import ClientLeft, Refusal, UpstreamError
from gateway.events import WholeEvents, is_done
from gateway.exchange import MAX_BODY_BYTES, Exchange, Headers
from gateway.foreign_error import is_json, told
from gateway.forward import Forwarder
from gateway.in_force import InForce
from gateway.passage import CLIENT_LEFT, Passage
from gateway.refuse import (
    draining,
    internal_error,
    no_snapshot,
    refuse,
    retry_headers,
    spool_is_full,
)
from gateway.response_headers import answer_headers, request_id
from gateway.upstream.call import Call
from gateway.wheel import Wheel

#: from here on the client is watched: an answer that is faster needs no watching
WATCH_AFTER_S = 0.1
#: an answer that takes longer has a start frame
START_FRAME_AFTER_S = 1.0
#: a client that does not read its answer may hold it so long beyond the request's deadline
GIVE_UP_AFTER_S = 5.0

logger = logging.getLogger(__name__)


class Core:
    """Answers chat completions."""

    def __init__(
        self,
        *,
        in_force: Callable[[], InForce | None],
        breakers: Breakers,
        capture: Capture,
        counters: Counters,
        wheel: Wheel,
        may_record: Callable[[], bool] | None,
    ) -> None:
        """``may_record``: asked before a request that is recorded is taken; None: never ask."""
        self._in_force = in_force
        self._breakers = breakers
        self._capture = capture
        self._counters = counters
        self._wheel = wheel
        self._may_record = may_record
        self._forwarder = Forwarder(breakers, counters)

    async def answer(self, headers: Headers, exchange: Exchange) -> None:
        """Answer one request, whatever happens."""
        started = time.monotonic()
        trace_id = str(uuid7())
        passage: Passage | None = None
        self._counters.open += 1
        try:
            asked, key = let_in(self._rules(), headers)
            body = await exchange.read(MAX_BODY_BYTES)
            started = time.monotonic()
            passage = admit(
                # A body may take its time, and a rollback holds from the first moment.
                self._rules(),
                body,
                self._breakers,
                headers=asked,
                key=key,
                trace_id=trace_id,
                now=time.time(),
                started=started,
            )
            if self._may_record is not None and passage.recorded and not self._may_record():
                raise spool_is_full()
            await self._pass(passage, exchange)
        except ClientLeft:
            pass  # before its request was complete: nobody was asked, and nobody waits
        except asyncio.CancelledError:
            if passage is not None:
                raise
            await self._refuse(draining(), headers, exchange, trace_id, started)
        except Refusal as refusal:
            await self._refuse(refusal, headers, exchange, trace_id, started)
        except Exception:
            logger.exception("request %s failed by a fault of the gateway", trace_id)
            if passage is None:
                self._counters.refused(internal_error().status)
            await refuse(exchange, internal_error(), headers, trace_id, started=started)
        finally:
            self._counters.open -= 1

    async def refuse(self, refusal: Refusal, headers: Headers, exchange: Exchange) -> None:
        """Refuse, and count, a request that is not to be read."""
        await self._refuse(refusal, headers, exchange, str(uuid7()), time.monotonic())

    async def _refuse(
        self,
        refusal: Refusal,
        headers: Headers,
        exchange: Exchange,
        trace_id: str,
        started: float,
    ) -> None:
        self._counters.refused(refusal.status)
        await refuse(exchange, refusal, headers, trace_id, started=started)

    def _rules(self) -> InForce:
        in_force = self._in_force()
        if in_force is None:
            raise no_snapshot()
        return in_force

    async def _pass(self, passage: Passage, exchange: Exchange) -> None:
        passage.exchange = exchange
        passage.still_open = self._still_open
        self._wheel.add(passage, passage.started + WATCH_AFTER_S)
        try:
            call = await self._forwarder.forward(passage)
            if call.streams:
                await self._stream(passage, call, exchange)
            else:
                await self._whole(passage, call, exchange)
        except ClientLeft:
            self._end(passage, CLIENT_LEFT, "client_disconnect", answer=b"".join(passage.captured))
        except UpstreamError as error:
            await self._own_error(passage, error, exchange)
        except asyncio.CancelledError:
            if passage.ended:
                raise  # its answer is on the way
            # The worker stops and can't wait any longer. That is no fault of whom it waited for, so
            # the trace says what it says of a client that left.
            self._end(passage, CLIENT_LEFT, "client_disconnect", answer=b"".join(passage.captured))
            await self._tell(passage, draining(), exchange)
        except Exception:
            self._end(passage, 500, "internal_error", answer=b"")
            raise
        finally:
            self._wheel.remove(passage)

    async def _whole(self, passage: Passage, call: Call, exchange: Exchange) -> None:
        arrived = body = passage.captured[0]
        elapsed_s = time.monotonic() - passage.started
        headers = answer_headers(passage, call.headers, elapsed_s=elapsed_s)
        status = call.status
        if status >= 300:
            if not is_json(call.headers.get(b"content-type", b""), body):
                body = _told(call, passage)
                headers = [pair for pair in headers if pair[0] not in _ABOUT_THE_BODY]
                headers.append((b"content-type", b"application/json"))
                status = max(status, 502) if status < 400 else status
            if status > _LAST_STATUS:
                status = 502
        headers.append((b"content-length", b"%d" % len(body)))
        finish = "stop" if status < 300 else "refused"
        content_type = _content_type(call)
        if not self._end(passage, status, finish, content_type=content_type, answer=arrived):
            refusal = spool_is_full()
            body = refusal.body(_request_id(passage))
            status, headers = refusal.status, _error_headers(passage, refusal, body)
        await exchange.start(status, headers)
        await exchange.send(body, last=True)

    async def _stream(self, passage: Passage, call: Call, exchange: Exchange) -> None:
        """Pass a stream on, event by event. Its end waits until the request is recorded."""
        elapsed_s = time.monotonic() - passage.started
        headers = answer_headers(passage, call.headers, elapsed_s=elapsed_s)
        passage.streaming = True
        await exchange.start(call.status, headers)
        captured = passage.captured
        chunk, last, finish = b"".join(captured), b"", "stop"
        events = WholeEvents()
        try:
            while chunk:
                whole = events.take(chunk)
                if is_done(whole):
                    # A client stops reading here: nothing may be missing when it does, and nobody
                    # waits for an upstream that does not end its body.
                    last = whole
                    call.let_go()
                    break
                if whole:
                    await exchange.send(whole, last=False)
                    if passage.client_left:
                        raise ClientLeft("the client closed its connection, or does not read")
                chunk = await call.read()
                captured.append(chunk)
            else:
                last = events.rest
        except UpstreamError as error:
            if events.rest_is_done:
                last = events.rest
            else:
                finish = error.finish
                last = _error_event(error.refusal(), passage)
        self._forwarder.stream_ended(passage, finish)
        answer = b"".join(captured)
        content_type = _content_type(call)
        if not self._end(passage, call.status, finish, content_type=content_type, answer=answer):
            last = _error_event(spool_is_full(), passage)
        await exchange.send(last, last=True)

    async def _own_error(self, passage: Passage, error: UpstreamError, exchange: Exchange) -> None:
        refusal = error.refusal()
        self._end(passage, refusal.status, error.finish, answer=refusal.body(_request_id(passage)))
        await self._tell(passage, refusal, exchange)

    async def _tell(self, passage: Passage, refusal: Refusal, exchange: Exchange) -> None:
        """End with an error of our own; a stream that has begun, with an event."""
        if passage.streaming:
            await exchange.send(_error_event(refusal, passage), last=True)
            return
        body = refusal.body(_request_id(passage))
        await exchange.start(refusal.status, _error_headers(passage, refusal, body))
        await exchange.send(body, last=True)

    def _end(
        self,
        passage: Passage,
        status: int,
        finish: str,
        *,
        answer: bytes,
        content_type: str = "application/json",
    ) -> bool:
        """Record and count the end; False: the policy `audit` withholds an unrecorded answer."""
        if passage.ended:
            return True
        passage.ended = True
        recorded = self._capture.end(
            passage, status=status, finish=finish, content_type=content_type, answer=answer
        )
        withheld = self._may_record is not None and not recorded and status < 300
        self._counters.request(
            passage.route.name,
            passage.served_by,
            passage.reason,
            status=spool_is_full().status if withheld else status,
            seconds=time.monotonic() - passage.started,
        )
        return not withheld

    def _still_open(self, passage: Passage) -> None:
        """Called by the wheel while a request is open: watch the client, record, give up."""
        passage.looks += 1
        if passage.looks == 1:
            assert passage.exchange is not None
            passage.exchange.watch(passage.leave)
            self._wheel.add(passage, passage.started + START_FRAME_AFTER_S)
        elif passage.looks == 2:
            self._capture.start(passage)
            self._wheel.add(passage, passage.total_by + GIVE_UP_AFTER_S)
        else:
            # The upstream's deadlines are over, so it is the client that does not read.
            assert passage.exchange is not None
            passage.exchange.abort()
            passage.leave()


#: what HTTP defines; some upstreams go on above it
_LAST_STATUS = 599
_ABOUT_THE_BODY = (b"content-type", b"content-encoding")


def _request_id(passage: Passage) -> str:
    return request_id(passage, {}).decode("latin-1")


def _content_type(call: Call) -> str:
    """Return the content type for the frame; an encoded body, which nobody asked for, is marked."""
    content_type = call.headers.get(b"content-type", b"").decode("latin-1").lower()
    encoding = call.headers.get(b"content-encoding")
    if encoding is None:
        return content_type
    return f"{content_type}; content-encoding={encoding.decode('latin-1')}"


def _told(call: Call, passage: Passage) -> bytes:
    return told(
        passage.captured[0],
        upstream=call.name,
        status=call.status,
        encoded=b"content-encoding" in call.headers,
        request_id=request_id(passage, call.headers).decode("latin-1"),
    )


def _error_headers(passage: Passage, refusal: Refusal, body: bytes) -> list[tuple[bytes, bytes]]:
    elapsed_s = time.monotonic() - passage.started
    return [
        *answer_headers(passage, {}, elapsed_s=elapsed_s),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *retry_headers(refusal),
    ]


def _error_event(refusal: Refusal, passage: Passage) -> bytes:
    """Return the event that ends a broken stream."""
    return b"data: %s\n\n" % refusal.body(_request_id(passage))
