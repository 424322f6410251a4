"""Scores the teacher's answers with the route's metric: the distiller's training material."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from control.measure import Answer, Measure, gold_of
from programs.score import Score
from traces.store import Store
from traces.times import from_us

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
    """Scores what is new. A label that comes later scores its answer again.

    ``through``: the moment (Unix seconds) up to which all requests of a route are known.
    ``turn_s``: a turn asks the metric about no further answer after that time.
    """

    def __init__(
        self,
        store: Store,
        *,
        measures: Mapping[str, Measure],
        through: Callable[[str], float],
        turn_s: float = 5.0,
    ) -> None:
        self._store = store
        self._measures = measures
        self._through = through
        self._turn_s = turn_s
        #: route -> answers and labels before this are scored, Unix microseconds
        self._scored_to: dict[str, int] = {}

    async def score(self, route: str) -> None:
        """One turn of a route: a batch, or what its metric manages in some seconds."""
        measure = self._measures.get(route)
        if measure is None or not measure.ready:
            return
        known_us = round(self._through(route) * 1e6)
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
        scored = await _scored(measure, rows, within_s=self._turn_s)
        if scored:
            await asyncio.to_thread(self._record, route, measure, scored)
        if len(scored) == len(rows) < _BATCH:
            # Only a hint that saves looking at everything: a restart begins at 0 again.
            self._scored_to[route] = max(0, known_us - _LATE_US)

    def _record(
        self, route: str, measure: Measure, scored: Sequence[tuple[_ToScore, Score]]
    ) -> None:
        self._store.append(
            "scores",
            [
                (
                    row.trace_id, from_us(row.known_us), route, "served", measure.metric_hash,
                    mark.value, mark.not_scored,
                )
                for row, mark in scored
            ],
        )  # fmt: skip


async def _scored(
    measure: Measure, rows: Sequence[_ToScore], *, within_s: float
) -> list[tuple[_ToScore, Score]]:
    """The first rows with their scores; all of them, unless the metric is slow."""
    ends = time.monotonic() + within_s
    scored: list[tuple[_ToScore, Score]] = []
    for row in rows:
        if scored and time.monotonic() >= ends:
            break
        if row.refused:
            # It is wrong whatever the metric, which has nothing to compare it with.
            scored.append((row, Score(value=0.0)))
        else:
            (mark,) = await measure.mark([_answer(row)])
            scored.append((row, mark))
    return scored


def _answer(row: _ToScore) -> Answer:
    gold = gold_of(gold=row.gold, confirmed=row.confirmed, answer=row.answer)
    return Answer(request=row.request, answer=row.answer, gold=gold)
