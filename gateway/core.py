"""The core: admit, decide, splice, forward, capture. It does not know how bytes arrive.

Failure means teacher: no fault of a student or of recording fails a caller's request.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from fastuuid import uuid7

from gateway.admission import admit
from gateway.breakers import Breakers
from gateway.capture import Capture
from gateway.counters import Counters
from gateway.errors import ClientLeft, Refusal, UpstreamError, error_body
from gateway.exchange import Exchange, Request
from gateway.forward import Forwarder
from gateway.in_force import InForce
from gateway.passage import CLIENT_LEFT, Passage
from gateway.refuse import internal_error, no_snapshot, refuse, spool_is_full
from gateway.response_headers import answer_headers
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

    async def answer(self, request: Request, exchange: Exchange) -> None:
        """Answer one request, whatever happens."""
        started = time.monotonic()
        trace_id = str(uuid7())
        self._counters.open += 1
        try:
            passage = self._admit(request, trace_id, started)
            passage.exchange = exchange
            passage.task = asyncio.current_task()
            passage.still_open = self._still_open
            self._wheel.add(passage, started + WATCH_AFTER_S)
            try:
                await self._pass(passage, exchange)
            finally:
                self._wheel.remove(passage)
        except Refusal as refusal:
            self._counters.request(
                "", "gateway", "refused", status=refusal.status, seconds=time.monotonic() - started
            )
            await refuse(exchange, refusal, request, trace_id, started=started)
        except Exception:
            logger.exception("request %s failed by a fault of the gateway", trace_id)
            await refuse(exchange, internal_error(), request, trace_id, started=started)
        finally:
            self._counters.open -= 1

    def _admit(self, request: Request, trace_id: str, started: float) -> Passage:
        in_force = self._in_force()
        if in_force is None:
            raise no_snapshot()
        passage = admit(
            in_force,
            request,
            self._breakers,
            trace_id=trace_id,
            now=time.time(),
            started=started,
        )
        if self._may_record is not None and passage.recorded and not self._may_record():
            raise spool_is_full()
        return passage

    async def _pass(self, passage: Passage, exchange: Exchange) -> None:
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
            # The client does not read, or the worker stops and can't wait any longer.
            self._end(passage, CLIENT_LEFT, "client_disconnect", answer=b"".join(passage.captured))
            raise
        except Exception:
            self._end(passage, 500, "internal_error", answer=b"")
            raise

    async def _whole(self, passage: Passage, call: Call, exchange: Exchange) -> None:
        body = passage.captured[0]
        elapsed_s = time.monotonic() - passage.started
        headers = answer_headers(passage, call.headers, elapsed_s=elapsed_s)
        status, content_type = call.status, _content_type(call)
        if status >= 300 and not content_type.startswith("application/json"):
            body, status = _told(call, passage), max(status, 502) if status < 400 else status
            content_type = "application/json"
            headers = [pair for pair in headers if pair[0] not in _ABOUT_THE_BODY]
            headers.append((b"content-type", b"application/json"))
        headers.append((b"content-length", b"%d" % len(body)))
        finish = "stop" if status < 300 else "refused"
        self._end(passage, status, finish, content_type=content_type, answer=body)
        await exchange.start(status, headers)
        await exchange.send(body, last=True)

    async def _stream(self, passage: Passage, call: Call, exchange: Exchange) -> None:
        """Pass a stream on as it comes. The end of it waits until the request is recorded."""
        elapsed_s = time.monotonic() - passage.started
        headers = answer_headers(passage, call.headers, elapsed_s=elapsed_s)
        await exchange.start(call.status, headers)
        captured = passage.captured
        chunk, tail, held, finish = captured[0], b"", b"", "stop"
        try:
            while chunk:
                tail = (tail + chunk[-_TAIL:])[-_TAIL:]
                held += chunk
                if tail.endswith(_DONE):
                    # A client stops reading here: nothing may be missing when it does, and nobody
                    # waits for an upstream that does not end its body.
                    break
                if not tail.rstrip().endswith(b"[DONE]"):
                    await exchange.send(held, last=False)
                    held = b""
                chunk = await call.read()
                captured.append(chunk)
        except UpstreamError as error:
            if not held:
                finish = error.finish
                held = _error_event(error, passage, after=tail)
        self._forwarder.stream_ended(passage, whole=finish == "stop")
        answer = b"".join(captured)
        self._end(passage, call.status, finish, content_type=_content_type(call), answer=answer)
        await exchange.send(held, last=True)

    async def _own_error(self, passage: Passage, error: UpstreamError, exchange: Exchange) -> None:
        refusal = error.refusal()
        body = refusal.body(_request_id(passage))
        self._end(passage, refusal.status, error.finish, answer=body)
        elapsed_s = time.monotonic() - passage.started
        headers = answer_headers(passage, {}, elapsed_s=elapsed_s)
        headers += (
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        )
        await exchange.start(refusal.status, headers)
        await exchange.send(body, last=True)

    def _end(
        self,
        passage: Passage,
        status: int,
        finish: str,
        *,
        answer: bytes,
        content_type: str = "application/json",
    ) -> None:
        if passage.ended:
            return
        passage.ended = True
        self._capture.end(
            passage, status=status, finish=finish, content_type=content_type, answer=answer
        )
        self._counters.request(
            passage.route.name,
            passage.served_by,
            passage.reason,
            status=status,
            seconds=time.monotonic() - passage.started,
        )

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
        elif passage.task is not None:
            # The upstream's deadlines are over, so it is the client that does not read.
            passage.task.cancel()


_TAIL = 24
#: a stream's last event, whole
_DONE = (b"\ndata: [DONE]\n\n", b"\ndata: [DONE]\r\n\r\n", b"\ndata:[DONE]\n\n")
_ABOUT_THE_BODY = (b"content-type", b"content-encoding")


def _request_id(passage: Passage) -> str:
    request_id = passage.headers.request_id
    return passage.trace_id if request_id is None else request_id.decode("latin-1")


def _content_type(call: Call) -> str:
    """Return the answer's content type; an encoded body, which nobody asked for, is marked."""
    content_type = call.headers.get(b"content-type", b"").decode("latin-1")
    encoding = call.headers.get(b"content-encoding")
    if encoding is None:
        return content_type
    return f"{content_type}; content-encoding={encoding.decode('latin-1')}"


def _told(call: Call, passage: Passage) -> bytes:
    """Return an error body for an upstream's answer that is an error, and no JSON."""
    return error_body(
        f"{call.name} answered with status {call.status}",
        type="upstream_error",
        code=f"http_{call.status}",
        request_id=_request_id(passage),
    )


def _error_event(error: UpstreamError, passage: Passage, *, after: bytes) -> bytes:
    """Return the event that ends a broken stream; ``after`` is what was sent last."""
    whole_events = after.endswith((b"\n\n", b"\r\n\r\n"))
    body = error.refusal().body(_request_id(passage))
    return b"%sdata: %s\n\n" % (b"" if whole_events else b"\n\n", body)
