"""Shadow evaluation, second part: replays what was drawn, and stores what that brings.

A replay costs the caller nothing, so it may wait; what matters is that a slow server holds up
neither other routes nor the answers that are there already.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from control.budget import cost, spent_today, why_paused
from control.candidates import Candidate
from control.config.values import RouteConfig
from control.replay import Replayer, Reply
from control.shadow import PENDING
from router.pairs import Kind, Outcome
from traces.store import Store
from traces.times import from_seconds

#: a turn takes at most this many requests a candidate
_BATCH = 200
#: a turn begins no replay later than this, seconds
_TURN_S = 5.0
#: what has come is stored this often while others are still under way, seconds
_RECORD_S = 0.25
#: the daily budget, or the label deadline, came before the replay
NOT_REPLAYED = "not_replayed"


class _ToReplay(msgspec.Struct, frozen=True, kw_only=True):
    trace_id: str
    kind: str
    request: str

    @property
    def shadow(self) -> bool:
        return self.kind == Kind.SHADOW


class _Replayed(msgspec.Struct, frozen=True, kw_only=True):
    row: _ToReplay
    #: None: it was not replayed, and will not be
    reply: Reply | None
    #: None: unknown
    usd: float | None = None

    @property
    def outcome(self) -> str:
        if self.reply is None:
            return NOT_REPLAYED
        if self.reply.failure is None:
            return PENDING
        # A failure is no answer, so it has no score: the pair goes, whoever failed.
        return str(Outcome.STUDENT_FAILED if self.row.shadow else Outcome.TEACHER_FAILED)


class _Turn:
    """What the candidates of a route share during one turn."""

    def __init__(self, route: RouteConfig, *, spent_usd: float) -> None:
        self._route = route
        self._ends = time.monotonic() + _TURN_S
        self.slots = asyncio.Semaphore(route.policy.shadow.concurrency)
        #: since midnight UTC, this turn's included
        self.spent_usd = spent_usd

    @property
    def over(self) -> bool:
        return time.monotonic() >= self._ends

    @property
    def paused(self) -> bool:
        return why_paused(self._route, self.spent_usd) is not None


class Replaying:
    """Replays for the present ``candidates``."""

    def __init__(
        self, store: Store, replayer: Replayer, *, candidates: Callable[[], Sequence[Candidate]]
    ) -> None:
        self._store = store
        self._replayer = replayer
        self._candidates = candidates

    async def replay(self, route: str) -> None:
        """One turn of one route, within its concurrency; what does not fit waits for the next."""
        present = [candidate for candidate in self._candidates() if candidate.route == route]
        if not present:
            return
        spent = await asyncio.to_thread(spent_today, self._store, route, now=time.time())
        turn = _Turn(present[0].config, spent_usd=spent.usd)
        ended = await asyncio.gather(
            *(self._replay(candidate, turn) for candidate in present), return_exceptions=True
        )
        for error in ended:
            if error is not None:
                raise error

    async def _replay(self, candidate: Candidate, turn: _Turn) -> None:
        params = candidate.key.params
        read = partial(self._store.all, "pairs_to_replay", _ToReplay, **params, at_most=_BATCH)
        rows = await asyncio.to_thread(read)
        pending = {asyncio.create_task(self._one(candidate, row, turn)) for row in rows}
        try:
            while pending:
                done, pending = await asyncio.wait(pending, timeout=_RECORD_S)
                replayed = [one for task in done if (one := task.result()) is not None]
                if replayed:
                    await asyncio.to_thread(self._record, candidate, replayed)
        finally:
            for task in pending:
                task.cancel()

    async def _one(self, candidate: Candidate, row: _ToReplay, turn: _Turn) -> _Replayed | None:
        endpoint = candidate.on_student if row.shadow else candidate.on_teacher
        async with turn.slots:
            if turn.over:
                return None
            if turn.paused:
                return _Replayed(row=row, reply=None)
            reply = await self._replayer.ask(
                endpoint.upstream,
                endpoint.target,
                row.request,
                timeout_s=candidate.config.policy.shadow.timeout_s,
            )
            usd: float | None = 0.0
            if reply.failure is None:
                usd = cost(endpoint.price, tokens_in=reply.tokens_in, tokens_out=reply.tokens_out)
            turn.spent_usd += usd or 0.0
            return _Replayed(row=row, reply=reply, usd=usd)

    def _record(self, candidate: Candidate, replayed: Sequence[_Replayed]) -> None:
        answered = [(one, one.reply) for one in replayed if one.reply is not None]
        dropped = [one for one in replayed if one.reply is None]
        with self._store.transaction():
            if dropped:
                self._store.run(
                    "drop_pairs",
                    **candidate.key.params,
                    trace_ids=[one.row.trace_id for one in dropped],
                    outcomes=[one.outcome for one in dropped],
                )
            if answered:
                self._store.run(
                    "record_replays",
                    **candidate.key.params,
                    trace_ids=[one.row.trace_id for one, _ in answered],
                    outcomes=[one.outcome for one, _ in answered],
                    answers=[reply.answer for _, reply in answered],
                    statuses=[reply.status for _, reply in answered],
                    ms=[reply.ms for _, reply in answered],
                    costs_usd=[one.usd for one, _ in answered],
                )
                # The moment of storing: whoever reads the costs by time must not miss one.
                now = from_seconds(time.time())
                self._store.append(
                    "costs",
                    [
                        (now, candidate.route, one.row.kind, one.usd, _ref(candidate, one.row))
                        for one, _ in answered
                    ],
                )


def _ref(candidate: Candidate, row: _ToReplay) -> str:
    """Leads back to the pair; the availability guards read the time of replays there."""
    return f"{candidate.student}/{candidate.k}/{row.trace_id}"
