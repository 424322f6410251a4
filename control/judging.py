"""Shadow evaluation, last part: labels meet pairs, and both sides are scored by one metric.

A pair waits for its label until the deadline, then it is dropped and counted. So does one whose
answer was refused, as gold may follow: when a turn comes must not decide which pairs count. Gold of
coverage `volunteered` never gets here: the query does not see it.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

import msgspec

from control.candidates import Candidate
from control.measure import Answer, Measure, gold_of
from router.pairs import Coverage, Kind, Outcome
from traces.store import Store

_BATCH = 100
#: the right output may follow a refusal so long: newer evidence waits for it, seconds
_CORRECTION_S = 600.0
#: the served answer was refused, and nobody said soon what is right
NO_GOLD = "no_gold"
#: whoever could label the student's answer has refused answers without saying what is right
REFUSING = "refusing_source"


class _ToJudge(msgspec.Struct, frozen=True, kw_only=True):
    trace_id: str
    ts_us: int
    kind: str
    deadline_us: int
    teacher_answer: str
    student_answer: str
    request: str
    gold: str | None
    confirmed: bool | None
    coverage: str | None
    #: nobody else can label it than a source that refuses answers without the right output
    refused: bool


class _Answered(msgspec.Struct, frozen=True, kw_only=True):
    """A student's answer, with its place in request order."""

    trace_id: str
    ts_us: int
    answer: str

    @property
    def place(self) -> tuple[int, str]:
        return self.ts_us, self.trace_id


class _Ready(msgspec.Struct, frozen=True, kw_only=True):
    row: _ToJudge
    gold: str | None
    #: the student's answer of the pair before; None: this is the first pair
    control: str | None


class _Judged(msgspec.Struct, frozen=True, kw_only=True):
    """The scores of one pair; None: the metric could not score that answer."""

    row: _ToJudge
    teacher: float | None
    student: float | None
    control: float | None


class Judging:
    """Scores the pairs of all candidates. ``measures``: route -> its metric.

    ``collected_to``: the moment (Unix seconds) up to which all labels are in the store: a label
    that was given in time may still lie in the spool, so no deadline has passed before that.
    ``turn_s``: a turn asks the metric about no further pair after that time.
    """

    def __init__(
        self,
        store: Store,
        *,
        candidates: Callable[[], Sequence[Candidate]],
        measures: Mapping[str, Measure],
        collected_to: Callable[[], float],
        turn_s: float = 5.0,
    ) -> None:
        self._store = store
        self._candidates = candidates
        self._measures = measures
        self._collected_to = collected_to
        self._turn_s = turn_s

    async def judge(self, route: str) -> None:
        """Decide the pending pairs of a route that can be decided now, a batch a candidate."""
        measure = self._measures.get(route)
        if measure is None or not measure.ready:
            return
        if measure.fault is not None:
            # No lease is renewed meanwhile, and without traffic nothing else would ask it again.
            await measure.mark([])
        for candidate in self._candidates():
            if candidate.route != route:
                continue
            now_us = round(min(time.time(), self._collected_to()) * 1e6)
            ready = await asyncio.to_thread(self._sort_out, candidate, measure, now_us)
            judged = await _judged(measure, ready, within_s=self._turn_s)
            if judged:
                await asyncio.to_thread(self._record, candidate, measure, judged)

    def _sort_out(self, candidate: Candidate, measure: Measure, now_us: int) -> list[_Ready]:
        """Drop what will never be scored by ``now_us``, Unix microseconds; return what can be."""
        params = candidate.key.params
        self._store.run("expire_replays", **params, now_us=now_us)
        rows = self._store.all(
            "pairs_to_judge",
            _ToJudge,
            **params,
            now_us=now_us,
            waits=measure.needs_label,
            correction_us=round(_CORRECTION_S * 1e6),
            at_most=_BATCH,
        )
        ready, dropped = [], {}
        controls = self._controls(candidate, rows)
        for row, control in zip(rows, controls, strict=True):
            gold = _gold(row)
            if gold is not None or not measure.needs_label:
                ready.append(_Ready(row=row, gold=gold, control=control))
            elif row.refused:
                dropped[row.trace_id] = REFUSING
            elif row.confirmed is False:
                dropped[row.trace_id] = NO_GOLD
            elif now_us >= row.deadline_us:
                dropped[row.trace_id] = Outcome.UNLABELLED.value
        self._drop(candidate, dropped)
        return ready

    def _controls(self, candidate: Candidate, rows: Sequence[_ToJudge]) -> list[str | None]:
        """Of the pair before in request order, decided or not: known before any score is."""
        if not rows:
            return []
        answers = self._store.all(
            "students_answers",
            _Answered,
            **candidate.key.params,
            from_us=rows[0].ts_us,
            to_us=rows[-1].ts_us,
        )
        places = [answer.place for answer in answers]
        before = [bisect_left(places, (row.ts_us, row.trace_id)) for row in rows]
        return [answers[place - 1].answer if place else None for place in before]

    def _record(self, candidate: Candidate, measure: Measure, judged: Sequence[_Judged]) -> None:
        scored = [one for one in judged if None not in (one.teacher, one.student)]
        dropped = [one for one in judged if None in (one.teacher, one.student)]
        with self._store.transaction():
            self._drop(candidate, {one.row.trace_id: Outcome.NOT_SCORED.value for one in dropped})
            if scored:
                self._store.run(
                    "record_scores",
                    **candidate.key.params,
                    metric_hash=measure.metric_hash,
                    trace_ids=[one.row.trace_id for one in scored],
                    teacher_scores=[one.teacher for one in scored],
                    student_scores=[one.student for one in scored],
                    control_scores=[one.control for one in scored],
                    coverages=[one.row.coverage or Coverage.ALL.value for one in scored],
                )

    def _drop(self, candidate: Candidate, outcomes: Mapping[str, str]) -> None:
        """``outcomes``: trace -> why its pair leaves the evidence."""
        if outcomes:
            self._store.run(
                "drop_pairs",
                **candidate.key.params,
                trace_ids=list(outcomes),
                outcomes=list(outcomes.values()),
            )


async def _judged(measure: Measure, ready: Sequence[_Ready], *, within_s: float) -> list[_Judged]:
    """The scores of the first pairs; of all, unless the metric is slow."""
    ends = time.monotonic() + within_s
    judged: list[_Judged] = []
    for one in ready:
        if judged and time.monotonic() >= ends:
            break
        row = one.row
        texts = [row.teacher_answer, row.student_answer]
        texts += [] if one.control is None else [one.control]
        marks = await measure.mark(
            [Answer(request=row.request, answer=text, gold=one.gold) for text in texts]
        )
        values = [mark.value for mark in marks]
        control = values[2] if one.control is not None else None
        judged.append(_Judged(row=row, teacher=values[0], student=values[1], control=control))
    return judged


def _gold(row: _ToJudge) -> str | None:
    """The truth for both sides: a confirmation is about the answer that was delivered."""
    delivered = row.teacher_answer if row.kind == Kind.SHADOW else row.student_answer
    return gold_of(gold=row.gold, confirmed=row.confirmed, answer=delivered)
