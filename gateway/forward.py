"""Forward: ask whom the router chose, and the teacher if a student fails before the first byte."""

from __future__ import annotations

import logging
import time

from gateway.body import splice_model
from gateway.breakers import Breakers
from gateway.counters import Counters
from gateway.errors import (
    ClientLeft,
    ClientTimeout,
    ConnectFailed,
    UpstreamError,
    UpstreamLost,
    UpstreamTimeout,
)
from gateway.events import WholeEvents, holds_data
from gateway.in_force import Endpoint
from gateway.passage import Passage
from gateway.upstream.call import IDLE_S, Call

#: a student that is silent for so long in the middle of its answer is lost, seconds
STUDENT_IDLE_S = 60.0
_STALE_PROMPT = 412
#: the request's own fault: says nothing about the student's health
_BAD_INPUTS = 400
#: one of our own processes gave up at the deadline that it was told
_DEADLINE_PASSED = 504

logger = logging.getLogger(__name__)


class KeyMissing(ConnectFailed):
    """The upstream's key is not in the environment, or can't be sent."""

    code = "missing_api_key"


class Forwarder:
    """Asks upstreams, and counts how students do."""

    def __init__(self, breakers: Breakers, counters: Counters) -> None:
        self._breakers = breakers
        self._counters = counters

    async def forward(self, passage: Passage) -> Call:
        """Return a call with its status, its headers, and its whole body or first chunk.

        Raises `UpstreamError` when nobody answered, `ClientLeft` when nobody waits any more.
        """
        if passage.student is None:
            return await self._ask(passage, passage.endpoint, answer_by=None)
        route, student = passage.route, passage.student
        self._breakers.asked(route.name, student, passage.ts_us / 1e6)
        asked = time.monotonic()
        answer: Call | None = None
        failure: UpstreamError | None = None
        try:
            answer = await self._ask(
                passage,
                passage.endpoint,
                answer_by=_student_by(passage),
            )
        except UpstreamError as error:
            failure = error
        passage.student_us = int((time.monotonic() - asked) * 1e6)
        if answer is not None and answer.status < 300:
            if not answer.streams:
                self._breakers.succeeded(route.name, student)
            return answer
        self._failed(passage, student, answer, failure)
        if not _may_repeat(route.route.replayable, answer, failure):
            if answer is not None:
                return answer
            assert failure is not None
            raise failure
        return await self._ask(passage, passage.endpoint, answer_by=None)

    def stream_ended(self, passage: Passage, finish: str) -> None:
        """A stream is over: what broke off is too late for the teacher, not for the breaker."""
        if passage.student is None or finish == ClientTimeout.finish:
            return
        if finish == "stop":
            self._breakers.succeeded(passage.route.name, passage.student)
        else:
            self._count_failure(passage, passage.student)

    async def _ask(self, passage: Passage, endpoint: Endpoint, *, answer_by: float | None) -> Call:
        if endpoint.no_key is not None:
            raise KeyMissing(
                f"upstream {endpoint.upstream!r} needs a key: in the gateway {endpoint.no_key}"
            )
        if passage.client_left:
            raise ClientLeft("the client closed its connection")
        # What a student left behind is not the teacher's answer.
        passage.captured, passage.ttft_us = [], None
        body = passage.body
        if endpoint.spelled is not None:
            body = splice_model(body, endpoint.spelled, messages=passage.head.messages)
        asked = time.monotonic()
        by = passage.total_by if answer_by is None or passage.head.stream else answer_by
        answer_late = late = UpstreamTimeout
        if passage.headers.timeout_s is not None:
            answer_late, late = _whose_bounds(passage)
        headers = passage.headers.passed_on
        if endpoint.internal:
            headers += b"x-limbeck-deadline-ms: %d\r\n" % max((by - asked) * 1000, 1)
            if passage.recorded:
                # A host records the predictor calls of what has an id.
                headers += b"x-limbeck-inference-id: %s\r\n" % passage.trace_id.encode()
        call = passage.call = endpoint.client.ask(
            headers,
            body,
            total_by=passage.total_by,
            answer_by=answer_by,
            idle_s=IDLE_S if answer_by is None else STUDENT_IDLE_S,
            fresh=not passage.route.route.replayable,
            answer_late=answer_late,
            late=late,
        )
        try:
            await call.head()
            if call.streams:
                passage.captured.append(await call.read())
                if answer_by is not None:
                    await _hear_out(call, passage.captured)
                passage.ttft_us = int((time.monotonic() - passage.started) * 1e6)
            else:
                passage.captured = [await call.whole()]
        finally:
            passage.waited_s += time.monotonic() - asked
        if call.status >= 300 or not passage.captured[-1]:
            told = late if answer_by is None else answer_late
            _check_unusual(call, internal=endpoint.internal, late=told)
        return call

    def _failed(
        self, passage: Passage, student: str, answer: Call | None, failure: UpstreamError | None
    ) -> None:
        """Hand the passage over to the teacher, if it may be repeated, and count the failure."""
        if answer is None:
            assert failure is not None
            kind = failure.fallback
            its_fault = not isinstance(failure, ClientTimeout)
        else:
            kind = "stale" if answer.status == _STALE_PROMPT else "status"
            its_fault = answer.status != _BAD_INPUTS
        if its_fault:
            self._count_failure(passage, student)
        if _may_repeat(passage.route.route.replayable, answer, failure):
            self._counters.fallback(passage.route.name, student, kind)
            passage.fallback, passage.fallback_student = kind, student
            passage.served_by, passage.student, passage.reason = "teacher", None, "fallback"
            passage.endpoint = passage.route.teacher

    def _count_failure(self, passage: Passage, student: str) -> None:
        if self._breakers.failed(passage.route.name, student, time.time()):
            logger.warning(
                "student %s of route %r keeps failing: its breaker is open, the teacher answers",
                student,
                passage.route.name,
            )


def _student_by(passage: Passage) -> float:
    """Until when the student may answer; always leaves the teacher half of the whole time."""
    half_s = (passage.total_by - passage.started) / 2
    return passage.started + min(passage.route.route.student_deadline_s, half_s)


def _whose_bounds(passage: Passage) -> tuple[type[UpstreamTimeout], type[UpstreamTimeout]]:
    """Return the errors for the student's deadline and for the whole: the client's, or ours."""
    timeout_s, rules = passage.headers.timeout_s, passage.route.route
    if timeout_s is None or timeout_s >= rules.deadline_s:
        return UpstreamTimeout, UpstreamTimeout
    hurried = timeout_s / 2 < rules.student_deadline_s
    return ClientTimeout if hurried else UpstreamTimeout, ClientTimeout


async def _hear_out(call: Call, captured: list[bytes]) -> None:
    """Read a student's stream on to its first event: a comment is no answer, nor is half an event.

    ``captured`` holds what was read, and ends with an empty chunk if the stream ended before.
    """
    events = WholeEvents()
    while captured[-1] and not holds_data(events.take(captured[-1])):
        captured.append(await call.read())
    call.has_begun()


def _check_unusual(call: Call, *, internal: bool, late: type[UpstreamTimeout]) -> None:
    """Raise for what is no answer, though it came as one; ``late``: the deadline it was told."""
    if call.status < 300:
        raise UpstreamLost(f"{call.name} sent an empty answer")
    if internal and late is ClientTimeout and call.status == _DEADLINE_PASSED:
        # It gave up at the client's bound, before ours was noticed.
        message = f"{call.name} did not answer in time"
        raise ClientTimeout(message, repeatable=_ran_no_tools(call))


def _may_repeat(replayable: bool, answer: Call | None, failure: UpstreamError | None) -> bool:
    """Whether the teacher may be asked what a student was asked before.

    A program that is not replayable may have run tools: it is asked again only if the request
    certainly never reached it, or if it says itself that no tool ran.
    """
    if replayable:
        return True
    if answer is not None:
        return _ran_no_tools(answer)
    return failure is not None and failure.repeatable


def _ran_no_tools(answer: Call) -> bool:
    return answer.headers.get(b"x-limbeck-tools-ran") == b"0"
