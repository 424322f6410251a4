"""The exam: every candidate answers the same frozen rows, and the same metric scores them all.

The rows are unfiltered and labelled; a frequent input counts as often as users send it. An exam
selects among candidates and proves nothing: the proof is pairs newer than everything used here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from distiller.dataset.values import Row
from distiller.intervals import Method, interval, smallest_gap

#: the candidate name of the teacher, whose recorded answers are scored
TEACHER = "teacher"
#: rows scored at a time
_BATCH = 100


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate answered a row."""

    text: str
    #: None: unknown, which is never 0
    cost_usd: float | None


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate gave no usable answer; in production the teacher would have answered."""

    reason: str
    #: nobody was there to answer, or had the time to: that says nothing about the candidate
    unreachable: bool = False


_NOT_ASKED = Failed(reason="not asked, as nobody answered before", unreachable=True)


class ToScore(msgspec.Struct, frozen=True, kw_only=True):
    """What the metric gets for one row."""

    #: the recorded request body, JSON
    request: str
    answer: str
    #: the right output, JSON; None: the metric needs none
    gold: str | None


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """A score in 0..1, or why there is none."""

    score: float | None = None
    not_scored: str | None = None


#: scores some answers, in order
Score = Callable[[Sequence[ToScore]], Awaitable[Sequence[Scored]]]


class ExamResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one candidate reached."""

    #: a student's id, or ``teacher``
    candidate: str
    #: base model of the training; None for the teacher
    trainer: str | None = None
    #: rows of the exam
    rows: int
    #: trace -> score, of the answers that were delivered and scored
    scores: Mapping[str, float]
    #: reason -> rows that the candidate gave no usable answer to; no scores of 0
    failures: Mapping[str, int] = {}
    #: reason -> rows that nobody answered, which is not the candidate's fault
    unanswered: Mapping[str, int] = {}
    #: reason -> rows whose answer the metric could not score
    not_scored: Mapping[str, int] = {}
    #: of the answers; None: not all of them are known
    cost_usd: float | None = 0.0

    @property
    def n(self) -> int:
        """Scored rows."""
        return len(self.scores)

    @property
    def score(self) -> float | None:
        """Mean over the scored rows."""
        return sum(self.scores.values()) / self.n if self.scores else None

    @property
    def failure_share(self) -> float:
        """Share of the replies that were unusable: the teacher would have had to answer."""
        failed = sum(self.failures.values())
        return _share(failed, failed + self.n + sum(self.not_scored.values()))

    @property
    def unanswered_share(self) -> float:
        """Share of the rows that nobody answered."""
        return _share(sum(self.unanswered.values()), self.rows)

    @property
    def not_scored_share(self) -> float:
        """Share of the answers that the metric could not score."""
        lost = sum(self.not_scored.values())
        return _share(lost, lost + self.n)

    def summary(self, teacher: ExamResult) -> ExamSummary:
        """The figures beside the teacher's."""
        bounds = interval(list(self.scores.values()))
        return ExamSummary(
            candidate=self.candidate,
            n=self.n,
            score=self.score,
            low=bounds.low,
            high=bounds.high,
            method=bounds.method,
            smallest_gap=smallest_gap(differences(self, teacher)),
        )


class ExamSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the exam's table."""

    candidate: str
    n: int
    #: None: nothing could be scored
    score: float | None
    #: 95 % interval of the mean
    low: float
    high: float
    method: Method
    #: a smaller gap to the teacher would not be seen with this many rows
    smallest_gap: float


async def mark(
    candidate: str,
    rows: Sequence[Row],
    replies: Mapping[str, Answered | Failed],
    score: Score,
    *,
    trainer: str | None = None,
) -> ExamResult:
    """Score a candidate's ``replies`` (by trace); a row without one has not been answered."""
    failures: Counter[str] = Counter()
    unanswered: Counter[str] = Counter()
    answered: list[tuple[Row, str]] = []
    costs: list[float | None] = []
    for row in rows:
        reply = replies.get(row.trace_id, _NOT_ASKED)
        if isinstance(reply, Answered):
            answered.append((row, reply.text))
            costs.append(reply.cost_usd)
        elif reply.unreachable:
            unanswered[reply.reason] += 1
        else:
            failures[reply.reason] += 1
    marks = await _mark(answered, score)
    return ExamResult(
        candidate=candidate,
        trainer=trainer,
        rows=len(rows),
        scores=marks.scores,
        failures=dict(failures),
        unanswered=dict(unanswered),
        not_scored=marks.not_scored,
        cost_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
    )


async def examine_teacher(rows: Sequence[Row], score: Score) -> ExamResult:
    """Score the teacher's recorded answers: they are paid for already."""
    marks = await _mark([(row, row.answer) for row in rows if row.answer is not None], score)
    return ExamResult(
        candidate=TEACHER, rows=len(rows), scores=marks.scores, not_scored=marks.not_scored
    )


def differences(left: ExamResult, right: ExamResult) -> list[float]:
    """Score differences on the rows that both were scored on."""
    return [
        score - right.scores[trace_id]
        for trace_id, score in sorted(left.scores.items())
        if trace_id in right.scores
    ]


class _Marks(msgspec.Struct, frozen=True, kw_only=True):
    scores: dict[str, float]
    not_scored: dict[str, int]


async def _mark(answered: Sequence[tuple[Row, str]], score: Score) -> _Marks:
    scores: dict[str, float] = {}
    not_scored: Counter[str] = Counter()
    for start in range(0, len(answered), _BATCH):
        part = answered[start : start + _BATCH]
        asked = [ToScore(request=row.request, answer=text, gold=row.gold) for row, text in part]
        for (row, _), mark in zip(part, await score(asked), strict=True):
            if mark.score is None:
                not_scored[mark.not_scored or "no reason given"] += 1
            else:
                scores[row.trace_id] = mark.score
    return _Marks(scores=scores, not_scored=dict(not_scored))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
