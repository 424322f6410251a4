"""Collects the predictor calls of one run, whatever threads and tasks they happen in.

Knows nothing of dspy: `programs.dspy_compat` translates dspy's callbacks into these calls. Calls
form a tree (a program calls modules, a module calls predictors, a predictor calls the LM), known
by ids.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from programs.runs import Span, Usage


@dataclass(kw_only=True)
class _Clocked:
    """A span with the monotonic clock of its start."""

    span: Span
    start: float


class Recording:
    """One run. Safe to use from many threads."""

    def __init__(self) -> None:
        # Invariant of the lock: the order in `spans` is the order of `seq`, and sums are whole.
        self._lock = threading.Lock()
        self._calls: dict[str, _Clocked] = {}
        self._parents: dict[str, str | None] = {}
        self._tokens = (0, 0)
        self.spans: list[Span] = []
        self.tools_ran = False
        #: the first failure of a predictor that a student answers
        self.student_error: BaseException | None = None

    @property
    def usage(self) -> Usage:
        return Usage(tokens_in=self._tokens[0], tokens_out=self._tokens[1])

    def opened(self, call_id: str, parent: str | None) -> None:
        """Note a call of any kind, so that what happens inside finds its way up."""
        with self._lock:
            self._parents[call_id] = parent

    def predictor_started(
        self, call_id: str, predictor: str, inputs: dict[str, Any], *, by_student: bool
    ) -> None:
        with self._lock:
            span = Span(
                call_id=call_id,
                seq=len(self.spans),
                started=time.time(),
                predictor=predictor,
                inputs=inputs,
                by_student=by_student,
            )
            self.spans.append(span)
            self._calls[call_id] = _Clocked(span=span, start=time.monotonic())

    def predictor_ended(
        self, call_id: str, outputs: dict[str, Any] | None, error: BaseException | None
    ) -> None:
        call = self._calls.get(call_id)
        if call is None:
            return
        with self._lock:
            call.span.latency_us = int((time.monotonic() - call.start) * 1e6)
            call.span.outputs = outputs
            call.span.error = f"{type(error).__name__}: {error}"[:1000] if error else None
            if error and call.span.by_student and self.student_error is None:
                self.student_error = error

    def lm_started(self, call_id: str, model: str, messages: list[Any]) -> None:
        """Note an LM call; of several inside one predictor call the last one is kept."""
        span = self._span_above(call_id)
        if span is not None:
            span.model, span.messages, span.completion = model, messages, None

    def lm_ended(self, call_id: str, completion: str | None) -> None:
        span = self._span_above(call_id)
        if span is not None:
            span.completion = completion

    def tokens_used(self, call_id: str | None, tokens_in: int, tokens_out: int) -> None:
        span = self._span_above(call_id)
        with self._lock:
            self._tokens = (self._tokens[0] + tokens_in, self._tokens[1] + tokens_out)
            if span is not None:
                span.tokens_in += tokens_in
                span.tokens_out += tokens_out

    def tool_started(self) -> None:
        """Note a tool; it belongs to the predictor call that came before and asked for it."""
        with self._lock:
            self.tools_ran = True
            if self.spans:
                self.spans[-1].tools_ran = True

    def close(self) -> None:
        """Give the calls that never came back (deadline, cancellation) the time until now."""
        with self._lock:
            for call in self._calls.values():
                if call.span.error == "unfinished":
                    call.span.latency_us = int((time.monotonic() - call.start) * 1e6)

    def _span_above(self, call_id: str | None) -> Span | None:
        while call_id is not None:
            call = self._calls.get(call_id)
            if call is not None:
                return call.span
            call_id = self._parents.get(call_id)
        return None
