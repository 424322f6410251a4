"""Which candidate goes on to shadow evaluation. Pure.

The choice selects, it proves nothing: the best of several looks better than it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from distiller.exam import ExamResult, differences
from distiller.intervals import standard_error

#: a candidate that leaves more rows to the teacher is no candidate
MOST_FAILURES = 0.05
_ROUNDING = 1e-9
_SELECTS = "The exam selects, it proves nothing: the gate decides on newer requests."


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The exam's outcome."""

    #: a student's id; None: none is good enough to be looked at further
    candidate: str | None
    reason: str


def choose(
    results: Sequence[ExamResult], *, teacher: ExamResult, previous: ExamResult | None
) -> Choice:
    """Choose among ``results``, which are in order of their cost, the cheapest first.

    The best score wins; whoever is within one standard error of it (of the paired difference)
    ties with it, and the cheapest of those is chosen. It must not be worse than the previous
    student by more than that.
    """
    usable = [result for result in results if _fault(result) is None]
    if not usable:
        faults = [f"{result.candidate}: {_fault(result)}" for result in results]
        return Choice(candidate=None, reason="; ".join(faults) or "there was no candidate")
    best = max(usable, key=_score)
    chosen = next(result for result in usable if not _worse(result, best))
    said = _figures(chosen)
    if chosen is not best:
        said += f"; ties with {_figures(best)} and costs less"
    others = [_figures(result) for result in usable if result not in (chosen, best)]
    others += [f"{r.candidate} out ({_fault(r)})" for r in results if r not in usable]
    beside = [*others, f"teacher {_score(teacher):.3f}" if teacher.scores else "teacher not scored"]
    said = f"{said} (beside: {'; '.join(beside)})"
    if previous is not None and previous.scores:
        if _worse(chosen, previous):
            reason = f"{said}. Not chosen: the previous student is better, {_figures(previous)}"
            return Choice(candidate=None, reason=reason)
        said += f", not worse than the previous student, {_figures(previous)}"
    return Choice(candidate=chosen.candidate, reason=f"{said}. {_SELECTS}")


def _fault(result: ExamResult) -> str | None:
    """Why a result can't be chosen at all."""
    if result.failure_share > MOST_FAILURES:
        commonest = max(result.failures, key=lambda reason: result.failures[reason])
        return f"{result.failure_share:.1%} of its answers were unusable, mostly: {commonest}"
    if not result.scores:
        why = next(iter(result.not_scored), "the exam has no rows")
        return f"nothing could be scored ({why})"
    return None


def _worse(result: ExamResult, other: ExamResult) -> bool:
    """Lower on their common rows by more than one standard error."""
    paired = differences(result, other)
    if not paired:
        return False
    mean = sum(paired) / len(paired)
    # The margin for rounding keeps a single discordant row, which is one standard error, a tie.
    return -mean > standard_error(paired) + _ROUNDING


def _score(result: ExamResult) -> float:
    return result.score or 0.0


def _figures(result: ExamResult) -> str:
    trainer = f" ({result.trainer})" if result.trainer else ""
    return f"{result.candidate}{trainer} {_score(result):.3f} on {result.n} rows"
