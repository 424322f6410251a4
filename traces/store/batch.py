"""Rows of one collector step: frames in, rows of all tables out. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field

from traces.decode import (
    CollectorContext,
    call_row,
    gap_rows,
    open_request_row,
    open_row,
    trace_row,
)
from traces.feedback import feedback_row
from traces.record import Feedback, PredictorCall, RequestEnd, RequestStart, unpack
from traces.rows import CallRow, DeadLetterRow, FeedbackRow, GapRow, OpenRequestRow, TraceRow
from traces.times import from_seconds


@dataclass(kw_only=True, slots=True)
class Batch:
    """The rows of some frames, in the order of the frames."""

    context: CollectorContext
    #: Unix seconds, the time of dead letters
    now: float
    frames: int = 0
    #: one row a request: an end frame replaces its start frame's row
    traces: dict[str, TraceRow] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    opened: dict[str, OpenRequestRow] = field(default_factory=dict)
    calls: list[CallRow] = field(default_factory=list)
    feedback: list[FeedbackRow] = field(default_factory=list)
    gaps: list[GapRow] = field(default_factory=list)
    dead_letters: list[DeadLetterRow] = field(default_factory=list)

    def add(self, payload: bytes, *, segment: str, writer: str) -> None:
        """Add one frame. One that can't be read becomes a dead letter, and blocks no other."""
        self.frames += 1
        try:
            self._add(payload, writer)
        except Exception as error:  # whatever a client's bytes provoke
            self.add_dead_letter(payload, segment=segment, error=error)

    def add_dead_letter(self, payload: bytes, *, segment: str, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"[:2000].encode(errors="replace").decode()
        row = DeadLetterRow(ts=from_seconds(self.now), segment=segment, raw=payload, error=text)
        self.dead_letters.append(row)

    def _add(self, payload: bytes, writer: str) -> None:
        header, request, response = unpack(payload)
        match header:
            case RequestEnd():
                row = trace_row(header, request, response, context=self.context)
                self.traces[header.trace_id] = row
                self.ended.append(header.trace_id)
                self.opened.pop(header.trace_id, None)
            case RequestStart():
                row = open_row(header, request, context=self.context)
                self.traces[header.trace_id] = row
                self.opened[header.trace_id] = open_request_row(header, writer=writer)
            case PredictorCall():
                self.calls.append(call_row(header, context=self.context))
            case Feedback():
                self.feedback.append(feedback_row(header, request))
            case _:
                self.gaps.extend(gap_rows(header))
