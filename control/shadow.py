"""Shadow evaluation, first half: draws requests from the trace log and replays them.

The live request is long over when a replay begins. A teacher-served request is replayed on the
student (shadow), a student-served one on the teacher (reverse shadow). What a replay brings is
judged in `control.judging`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from control.budget import cost, spent_today
from control.candidates import Candidate, CandidateKey, Endpoint
from control.replay import Replayer, Reply
from control.sampling import Draw, Finished, draw
from router.pairs import Kind, Outcome
from traces.store import Store

#: a replay tick takes at most this many requests a candidate
_BATCH = 200
#: requests that finish later than this after the watermark passed them are still drawn
_LATE_US = 60_000_000
PENDING = "pending"
#: the daily budget, or the label deadline, came before the replay
NOT_REPLAYED = "not_replayed"


class _ToReplay(msgspec.Struct, frozen=True, kw_only=True):
    trace_id: str
    kind: str
    request: str


class _Conversation(msgspec.Struct, frozen=True, kw_only=True):
    conversation_id: str


class Shadow:
    """Draws and replays for all candidates.

    ``candidates`` gives the present ones; ``through`` the moment (Unix seconds) up to which all
    requests are known.
    """

    def __init__(
        self,
        store: Store,
        replayer: Replayer,
        *,
        candidates: Callable[[], Sequence[Candidate]],
        through: Callable[[], float],
    ) -> None:
        self._store = store
        self._replayer = replayer
        self._candidates = candidates
        self._through = through
        self._drawn_to: dict[CandidateKey, float] = {}
        self._conversations: dict[CandidateKey, set[str]] = {}
        #: route -> why nothing is replayed just now, for status
        self.paused: dict[str, str] = {}

    def sample(self) -> None:
        """Draw from the requests that became known since the last call."""
        through = self._through()
        present = self._candidates()
        self._forget_others({candidate.key for candidate in present})
        for candidate in present:
            if self._pause(candidate, time.time()) is None:
                self._sample(candidate, through)

    async def replay(self) -> None:
        """Replay what was drawn, within each route's concurrency."""
        await asyncio.gather(*(self._replay(candidate) for candidate in self._candidates()))

    def _forget_others(self, present: set[CandidateKey]) -> None:
        for key in [key for key in self._drawn_to if key not in present]:
            del self._drawn_to[key]
            del self._conversations[key]

    def _pause(self, candidate: Candidate, now: float) -> str | None:
        """Why nothing of this route may be replayed, kept for status."""
        reason = None
        policy = candidate.config.policy.shadow
        if candidate.config.metric is None:
            reason = "the route has no metric: nothing can be scored"
        elif not (candidate.config.plain or candidate.config.pure):
            reason = "the program is not marked pure: a replay could run its tools again"
        else:
            spent = spent_today(self._store, candidate.route, now=now)
            if spent.usd >= policy.daily_budget_usd:
                reason = (
                    f"the daily budget is used up: {spent.usd:.2f} of "
                    f"{policy.daily_budget_usd:.2f} USD since midnight UTC"
                )
        if reason is None:
            self.paused.pop(candidate.route, None)
        else:
            self.paused[candidate.route] = reason
        return reason

    def _sample(self, candidate: Candidate, through: float) -> None:
        key = candidate.key
        if key not in self._drawn_to:
            self._drawn_to[key] = candidate.since
            rows = self._store.all("paired_conversations", _Conversation, **key.params)
            self._conversations[key] = {row.conversation_id for row in rows}
        since_us = round(candidate.since * 1e6)
        after_us = max(since_us, round(self._drawn_to[key] * 1e6) - _LATE_US)
        through_us = round(through * 1e6)
        if through_us <= after_us:
            return
        finished = self._store.all(
            "sampling_span", Finished, **key.params, after_us=after_us, through_us=through_us
        )
        drawn = draw(
            finished,
            route=candidate.route,
            student=candidate.student,
            policy=candidate.config.policy.shadow,
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
        self._drawn_to[key] = through

    async def _replay(self, candidate: Candidate) -> None:
        key = candidate.key
        read = partial(self._store.all, "pairs_to_replay", _ToReplay, **key.params, at_most=_BATCH)
        rows = await asyncio.to_thread(read)
        slots = asyncio.Semaphore(candidate.config.policy.shadow.concurrency)

        async def one(row: _ToReplay) -> None:
            async with slots:
                paused = await asyncio.to_thread(self._pause, candidate, time.time())
                if paused is None:
                    await self._replay_one(candidate, row)
                else:
                    await asyncio.to_thread(self._drop, key, row.trace_id, NOT_REPLAYED)

        await asyncio.gather(*(one(row) for row in rows))

    async def _replay_one(self, candidate: Candidate, row: _ToReplay) -> None:
        shadow = row.kind == Kind.SHADOW
        endpoint = candidate.on_student if shadow else candidate.on_teacher
        reply = await self._replayer.ask(
            endpoint.upstream,
            endpoint.target,
            row.request,
            timeout_s=candidate.config.policy.shadow.timeout_s,
        )
        await asyncio.to_thread(self._record, candidate, row, endpoint, reply)

    def _record(
        self, candidate: Candidate, row: _ToReplay, endpoint: Endpoint, reply: Reply
    ) -> None:
        shadow, outcome = row.kind == Kind.SHADOW, PENDING
        if reply.failure is not None:
            # A failure is no answer, so it has no score: the pair goes, whoever failed.
            outcome = Outcome.STUDENT_FAILED if shadow else Outcome.TEACHER_FAILED
        usd = (
            0.0
            if reply.failure
            else cost(endpoint.price, tokens_in=reply.tokens_in, tokens_out=reply.tokens_out)
        )
        with self._store.transaction():
            self._store.run(
                "record_replay",
                **candidate.key.params,
                trace_id=row.trace_id,
                outcome=outcome,
                answer=reply.answer,
                status=reply.status,
                ms=reply.ms,
                cost_usd=usd,
            )
            self._store.run(
                "insert_cost",
                ts_us=round(time.time() * 1e6),
                route=candidate.route,
                kind=row.kind,
                usd=usd,
                # Leads back to the pair; the availability guards read the time of replays here.
                ref=f"{candidate.student}/{candidate.k}/{row.trace_id}",
            )

    def _drop(self, key: CandidateKey, trace_id: str, outcome: str) -> None:
        self._store.run("drop_pair", **key.params, trace_id=trace_id, outcome=outcome)


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
