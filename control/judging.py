"""Shadow evaluation, second half: labels meet pairs, and both sides are scored by one metric.

A pair waits for its label until the deadline, then it is dropped and counted. Gold of coverage
`volunteered` never gets here: the query does not see it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from control.candidates import Candidate
from control.measure import Answer, Measure, gold_of
from programs.score import Score
from router.pairs import Coverage, Kind, Outcome
from traces.store import Store

_BATCH = 100
#: the served answer was refused, but nobody said what is right
NO_GOLD = "no_gold"


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


class _Before(msgspec.Struct, frozen=True, kw_only=True):
    answer: str


class _Ready(msgspec.Struct, frozen=True, kw_only=True):
    row: _ToJudge
    gold: str | None
    #: the student's answer of the pair before; None: this is the first pair
    control: str | None


class Judging:
    """Scores the pairs of all candidates. ``measures``: route -> its metric."""

    def __init__(
        self,
        store: Store,
        *,
        candidates: Callable[[], Sequence[Candidate]],
        measures: Mapping[str, Measure],
    ) -> None:
        self._store = store
        self._candidates = candidates
        self._measures = measures

    async def judge(self) -> None:
        """Decide the pending pairs that can be decided now, a batch a candidate."""
        for candidate in self._candidates():
            measure = self._measures.get(candidate.route)
            if measure is None or not measure.ready:
                continue
            now_us = round(time.time() * 1e6)
            ready = await asyncio.to_thread(self._sort_out, candidate, measure, now_us)
            if ready:
                marks = await measure.mark([a for one in ready for a in _answers(one)])
                await asyncio.to_thread(self._record, candidate, measure, ready, marks)

    def _sort_out(self, candidate: Candidate, measure: Measure, now_us: int) -> list[_Ready]:
        """Drop what will never be scored; return what can be."""
        params = candidate.key.params
        self._store.run("expire_replays", **params, now_us=now_us)
        rows = self._store.all(
            "pairs_to_judge",
            _ToJudge,
            **params,
            now_us=now_us,
            waits=measure.needs_label,
            at_most=_BATCH,
        )
        ready = []
        for row in rows:
            gold = _gold(row)
            if gold is not None or not measure.needs_label:
                ready.append(_Ready(row=row, gold=gold, control=self._control(candidate, row)))
            elif row.confirmed is False and row.kind == Kind.SHADOW:
                self._drop(candidate, row, NO_GOLD)
            elif now_us >= row.deadline_us:
                self._drop(candidate, row, Outcome.UNLABELLED)
        return ready

    def _control(self, candidate: Candidate, row: _ToJudge) -> str | None:
        """Of the pair before in request order, decided or not: known before any score is."""
        before = self._store.one(
            "answer_before",
            _Before,
            **candidate.key.params,
            trace_id=row.trace_id,
            ts_us=row.ts_us,
        )
        return before.answer if before else None

    def _record(
        self,
        candidate: Candidate,
        measure: Measure,
        ready: Sequence[_Ready],
        marks: Sequence[Score],
    ) -> None:
        with self._store.transaction():
            for place, one in enumerate(ready):
                teacher, student, control = marks[3 * place : 3 * place + 3]
                if teacher.value is None or student.value is None:
                    self._drop(candidate, one.row, Outcome.NOT_SCORED)
                    continue
                self._store.run(
                    "record_scores",
                    **candidate.key.params,
                    trace_id=one.row.trace_id,
                    teacher_score=teacher.value,
                    student_score=student.value,
                    control_score=None if one.control is None else control.value,
                    coverage=one.row.coverage or Coverage.ALL.value,
                    metric_hash=measure.metric_hash,
                )

    def _drop(self, candidate: Candidate, row: _ToJudge, outcome: str) -> None:
        self._store.run(
            "drop_pair", **candidate.key.params, trace_id=row.trace_id, outcome=str(outcome)
        )


def _answers(one: _Ready) -> tuple[Answer, Answer, Answer]:
    """The teacher's, the student's, and the negative control (unused for the first pair)."""
    row = one.row
    texts = (row.teacher_answer, row.student_answer, one.control or row.student_answer)
    teacher, student, control = (
        Answer(request=row.request, answer=text, gold=one.gold) for text in texts
    )
    return teacher, student, control


def _gold(row: _ToJudge) -> str | None:
    """The truth for both sides.

    On a student-served request only gold counts: "that was wrong" without the right output would
    drop the student's failures and keep its successes.
    """
    if row.kind == Kind.REVERSE_SHADOW:
        return row.gold
    return gold_of(gold=row.gold, confirmed=row.confirmed, answer=row.teacher_answer)
