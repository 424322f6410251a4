"""One request on its way through a worker: what was decided, and what happens to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.body import Head
from gateway.errors import ClientLeft
from gateway.exchange import Exchange
from gateway.in_force import Endpoint, InForce, RouteInForce
from gateway.request_headers import RequestHeaders
from gateway.upstream.call import Call
from gateway.wheel import Timer
from router.assign import Assignment
from router.snapshot import AppKey

#: the status of a request whose client left, in traces and metrics
CLIENT_LEFT = 499


@dataclass(kw_only=True, slots=True, eq=False)
class Passage(Timer):
    """Made at admission; only the core changes it."""

    trace_id: str
    #: start, Unix microseconds
    ts_us: int
    #: start, seconds of `time.monotonic`
    started: float
    #: the request is given up then, seconds of `time.monotonic`
    total_by: float
    body: bytes
    headers: RequestHeaders
    head: Head
    key: AppKey
    in_force: InForce
    route: RouteInForce
    assignment: Assignment
    conversation: str | None
    audit: bool
    #: its content goes to the spool
    recorded: bool

    #: who answers; changes with a fallback
    served_by: str = "teacher"
    student: str | None = None
    reason: str = "default"
    endpoint: Endpoint
    fallback: str | None = None
    fallback_student: str | None = None
    student_us: int | None = None
    ttft_us: int | None = None
    #: seconds spent on waiting for upstreams
    waited_s: float = 0.0

    #: the call that is waited for
    call: Call | None = None
    #: what the wheel calls while the request is open
    still_open: Callable[[Passage], None] | None = None
    exchange: Exchange | None = None
    #: how often the wheel has called
    looks: int = 0
    client_left: bool = False
    #: status and headers of a stream are out: from here on an error is an event
    streaming: bool = False
    #: of a stream: what arrived so far
    captured: list[bytes] = field(default_factory=list)
    #: recorded and counted
    ended: bool = False

    def on_due(self, now: float) -> None:
        if self.still_open is not None:
            self.still_open(self)

    def leave(self) -> None:
        """The client closed its connection: nobody waits for the upstream any more."""
        self.client_left = True
        if self.call is not None:
            self.call.fail(ClientLeft("the client closed its connection"))
