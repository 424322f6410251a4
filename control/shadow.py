"""Shadow evaluation, first part: draws requests from the trace log.

The live request is long over then. A teacher-served request is to be replayed on the student
(shadow), a student-served one on the teacher (reverse shadow): `control.replaying` does it, and
`control.judging` scores what it brings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec

from control.budget import spent_today, why_paused
from control.candidates import Candidate, CandidateKey
from control.sampling import Draw, Finished, draw
from router.pairs import Kind
from traces.store import Store

#: requests that finish later than this after the watermark passed them are still drawn, seconds
_LATE_S = 60.0
#: of the log, looked at in one tick for one candidate: bounds memory after a long pause, seconds
_SPAN_S = 300.0
PENDING = "pending"


class _Newest(msgspec.Struct, frozen=True, kw_only=True):
    ts: float | None


class _Conversation(msgspec.Struct, frozen=True, kw_only=True):
    conversation_id: str


class Shadow:
    """Draws for all candidates.

    ``candidates`` gives the present ones; ``through`` the moment (Unix seconds) up to which all
    requests of a route are known.
    """

    def __init__(
        self,
        store: Store,
        *,
        candidates: Callable[[], Sequence[Candidate]],
        through: Callable[[str], float],
    ) -> None:
        self._store = store
        self._candidates = candidates
        self._through = through
        self._drawn_to: dict[CandidateKey, float] = {}
        self._conversations: dict[CandidateKey, set[str]] = {}
        #: route -> why nothing is replayed just now, for status
        self.paused: dict[str, str] = {}

    def sample(self) -> None:
        """Draw from the requests that became known since the last call."""
        now = time.time()
        present = self._candidates()
        self._forget_others({candidate.key for candidate in present})
        for candidate in present:
            through = self._through(candidate.route)
            if candidate.key not in self._drawn_to:
                self._begin(candidate)
            if self._pause(candidate, now):
                # What came meanwhile is left out for good: evidence that lags is worth less.
                self._drawn_to[candidate.key] = max(self._drawn_to[candidate.key], through)
            else:
                self._sample(candidate, through, now)

    def _forget_others(self, present: set[CandidateKey]) -> None:
        for key in [key for key in self._drawn_to if key not in present]:
            del self._drawn_to[key]
            del self._conversations[key]

    def _begin(self, candidate: Candidate) -> None:
        """Go on where an earlier control stopped: behind the newest request that it drew."""
        key = candidate.key
        newest = self._store.one("newest_pair", _Newest, **key.params)
        drawn_to = newest.ts if newest and newest.ts is not None else candidate.since
        rows = self._store.all("paired_conversations", _Conversation, **key.params)
        self._conversations[key] = {row.conversation_id for row in rows}
        self._drawn_to[key] = drawn_to

    def _pause(self, candidate: Candidate, now: float) -> bool:
        """Whether nothing of this route may be replayed; the reason is kept for status."""
        spent = spent_today(self._store, candidate.route, now=now)
        reason = why_paused(candidate.config, spent.usd)
        if reason is None:
            self.paused.pop(candidate.route, None)
        else:
            self.paused[candidate.route] = reason
        return reason is not None

    def _sample(self, candidate: Candidate, through: float, now: float) -> None:
        key, policy = candidate.key, candidate.config.policy.shadow
        after = max(
            candidate.since,
            self._drawn_to[key] - _LATE_S,
            # Its label would come too late.
            now - policy.label_deadline_s,
        )
        to = min(through, after + _SPAN_S)
        if to <= after:
            return
        finished = self._store.all(
            "sampling_span",
            Finished,
            **key.params,
            after_us=round(after * 1e6),
            through_us=round(to * 1e6),
        )
        drawn = draw(
            finished,
            route=candidate.route,
            student=candidate.student,
            policy=policy,
            audited_only=audited_only(candidate),
            conversations=self._conversations[key],
        )
        # A teacher without a price has no bound on what reverse shadow costs: unknown is never 0.
        if candidate.on_teacher.price is None:
            drawn = [one for one in drawn if one.kind == Kind.SHADOW]
        if drawn:
            with self._store.transaction():
                for one in drawn:
                    self._store.run("insert_pair", **_pair(candidate, one))
        self._drawn_to[key] = max(self._drawn_to[key], to)


def audited_only(candidate: Candidate) -> bool:
    """Labels come for the audit sample alone."""
    coverages = set(candidate.config.feedback.values())
    return "audit" in coverages and "all" not in coverages


def _pair(candidate: Candidate, drawn: Draw) -> dict[str, object]:
    request = drawn.request
    shadow = drawn.kind == Kind.SHADOW
    deadline_us = request.ts_us + round(candidate.config.policy.shadow.label_deadline_s * 1e6)
    return {
        **candidate.key.params,
        "trace_id": request.trace_id,
        "ts_us": request.ts_us,
        "kind": drawn.kind,
        "outcome": PENDING,
        "metric_hash": candidate.metric_hash,
        "propensity": drawn.propensity * request.propensity,
        "coverage": None,
        "cluster": drawn.cluster,
        "deadline_us": deadline_us,
        "teacher_answer": request.answer if shadow else None,
        "student_answer": None if shadow else request.answer,
    }
