"""Scores the teacher's answers with the route's metric: the distiller's training material."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

import msgspec

from control.measure import Answer, Measure, gold_of
from programs.score import Score
from traces.store import Store

_BATCH = 500
#: answers and labels are stored within this time after they came
_LATE_US = 900_000_000


class _ToScore(msgspec.Struct, frozen=True, kw_only=True):
    trace_id: str
    #: when the answer or its label became known, Unix microseconds
    known_us: int
    request: str
    answer: str
    gold: str | None
    confirmed: bool | None

    @property
    def refused(self) -> bool:
        """Somebody said that it is wrong, and not what is right."""
        return self.gold is None and self.confirmed is False


class Scoring:
    """Scores what is new. A label that comes later scores its answer again."""

    def __init__(self, store: Store, *, measures: Mapping[str, Measure]) -> None:
        self._store = store
        self._measures = measures
        #: route -> answers and labels before this are scored, Unix microseconds
        self._scored_to: dict[str, int] = {}

    async def step(self) -> None:
        """One batch for each route that has a metric."""
        for route, measure in self._measures.items():
            if measure.ready:
                await self._score(route, measure)

    async def _score(self, route: str, measure: Measure) -> None:
        began_us = round(time.time() * 1e6)
        rows = await asyncio.to_thread(
            self._store.all,
            "answers_to_score",
            _ToScore,
            route=route,
            metric_hash=measure.metric_hash,
            needs_label=measure.needs_label,
            since_us=self._scored_to.get(route, 0),
            at_most=_BATCH,
        )
        if len(rows) < _BATCH:
            # Only a hint that saves looking at everything: a restart begins at 0 again.
            self._scored_to[route] = began_us - _LATE_US
        if not rows:
            return
        asked = [row for row in rows if not row.refused]
        marks = await measure.mark([_answer(row) for row in asked]) if asked else []
        # A refused answer is wrong whatever the metric, which has nothing to compare it with.
        scored = [(row, Score(value=0.0)) for row in rows if row.refused]
        scored += zip(asked, marks, strict=True)
        await asyncio.to_thread(self._record, route, measure, scored)

    def _record(
        self, route: str, measure: Measure, scored: Sequence[tuple[_ToScore, Score]]
    ) -> None:
        with self._store.transaction():
            for row, mark in scored:
                self._store.run(
                    "insert_score",
                    trace_id=row.trace_id,
                    known_us=row.known_us,
                    route=route,
                    metric_hash=measure.metric_hash,
                    score=mark.value,
                    not_scored=mark.not_scored,
                )


def _answer(row: _ToScore) -> Answer:
    gold = gold_of(gold=row.gold, confirmed=row.confirmed, answer=row.answer)
    return Answer(request=row.request, answer=row.answer, gold=gold)
