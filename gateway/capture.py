"""Capture: the frames of a request. Never fails, and never delays, the request itself."""

from __future__ import annotations

import logging
import time

from gateway.passage import Passage
from traces.record import Feedback, RequestEnd, RequestStart, pack
from traces.spool import Recorder

logger = logging.getLogger(__name__)


class Capture:
    """Builds frames and hands them to the spool's recorder."""

    def __init__(self, recorder: Recorder, worker: str) -> None:
        #: frames that could not even be built
        self.errors = 0
        self._recorder = recorder
        self._worker = worker

    def start(self, passage: Passage) -> None:
        """Record a request that is still open after a second."""
        if passage.recorded and not passage.ended:
            self._record(_start_frame(passage, self._worker), passage.ts_us, passage.body)

    def end(
        self, passage: Passage, *, status: int, finish: str, content_type: str, answer: bytes
    ) -> bool:
        """Record a request's end; before the last byte of its answer goes out.

        False: it should be on record, and is not.
        """
        if not passage.recorded:
            return True
        latency_us = int((time.monotonic() - passage.started) * 1e6)
        frame = _end_frame(passage, self._worker, status, finish, content_type, latency_us)
        return self._record(frame, passage.ts_us, passage.body, answer)

    def feedback(self, frame: Feedback, body: bytes) -> bool:
        """Record a feedback item; False: the spool has no room for it."""
        return self._record(frame, frame.ts_us, body)

    def _record(
        self, frame: RequestEnd | RequestStart | Feedback, ts_us: int, *bodies: bytes
    ) -> bool:
        try:
            return self._recorder.record(pack(frame, *bodies), ts_us)
        except Exception:
            # Recording must never fail a request.
            self.errors += 1
            logger.exception("a frame was not recorded")
            return False


def _end_frame(
    passage: Passage,
    worker: str,
    status: int,
    finish: str,
    content_type: str,
    latency_us: int,
) -> RequestEnd:
    snapshot = passage.in_force.snapshot
    route = passage.route.route
    assignment = passage.assignment
    return RequestEnd(
        trace_id=passage.trace_id,
        worker=worker,
        ts_us=passage.ts_us,
        model=passage.head.model,
        route=passage.route.name,
        key_name=passage.key.name,
        served_by=passage.served_by,
        student=passage.student,
        stage=assignment.stage or None,
        weight=assignment.weight,
        reason=passage.reason,
        propensity=assignment.propensity,
        audit=passage.audit,
        audit_propensity=route.audit_rate,
        fallback=passage.fallback,
        fallback_student=passage.fallback_student,
        student_us=passage.student_us,
        upstream=passage.endpoint.upstream,
        upstream_model=passage.endpoint.model,
        status=status,
        finish=finish,
        latency_us=latency_us,
        ttft_us=passage.ttft_us,
        stream=bool(passage.head.stream),
        conversation_id=passage.conversation,
        user=passage.head.user,
        no_shadow=passage.headers.no_shadow,
        retry=passage.headers.retry,
        snapshot_version=snapshot.version,
        config_hash=snapshot.config_hash,
        program_version=route.program_version,
        metric_hash=route.metric_hash,
        tags=passage.headers.tags,
        request_len=len(passage.body),
        content_type=content_type,
    )


def _start_frame(passage: Passage, worker: str) -> RequestStart:
    left_s = passage.total_by - passage.started
    return RequestStart(
        trace_id=passage.trace_id,
        worker=worker,
        ts_us=passage.ts_us,
        model=passage.head.model,
        route=passage.route.name,
        key_name=passage.key.name,
        served_by=passage.served_by,
        student=passage.student,
        reason=passage.reason,
        deadline_us=passage.ts_us + round(left_s * 1e6),
        request_len=len(passage.body),
    )
