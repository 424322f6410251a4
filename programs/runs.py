"""One run of a program: what its predictors were asked and what they said. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from traces.record import PredictorCall


@dataclass(kw_only=True)
class Span:
    """One predictor call; filled while it runs."""

    call_id: str
    #: order of start within the run
    seq: int
    #: Unix seconds
    started: float
    #: name of the predictor in the program
    predictor: str
    inputs: dict[str, Any]
    #: a student answers it
    by_student: bool = False
    model: str = ""
    outputs: dict[str, Any] | None = None
    #: set as long as the call has not come back
    error: str | None = "unfinished"
    messages: list[Any] = field(default_factory=list)
    completion: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    latency_us: int = 0
    tools_ran: bool = False


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens of all calls of a run."""

    tokens_in: int
    tokens_out: int

    @property
    def total(self) -> int:
        return self.tokens_in + self.tokens_out


def call_frame(span: Span, *, trace_id: str, route: str, version: str, side: str) -> PredictorCall:
    """Return the record of one predictor call. ``side`` is ``teacher`` or the student's id."""
    return PredictorCall(
        trace_id=trace_id,
        call_id=span.call_id,
        seq=span.seq,
        ts_us=int(span.started * 1e6),
        route=route,
        program_version=version,
        side=side,
        predictor=span.predictor,
        model=span.model,
        inputs=span.inputs,
        outputs=span.outputs,
        error=span.error,
        messages=span.messages,
        completion=span.completion,
        tokens_in=span.tokens_in,
        tokens_out=span.tokens_out,
        latency_us=span.latency_us,
        tools_ran=span.tools_ran,
    )
