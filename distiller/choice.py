"""Which candidate goes on to shadow evaluation. Pure.

The choice selects, it proves nothing: the best of several looks better than it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from distiller.exam import ExamResult, differences
from distiller.intervals import standard_error

#: a candidate that leaves more rows to the teacher is no candidate
MOST_FAILURES = 0.05
#: with more rows unanswered, the others may be the easy ones
MOST_UNANSWERED = 0.05
#: so many more answers that can't be scored than the teacher has, as a share, may be wrong ones
MOST_LESS_SCORED = 0.05
_ROUNDING = 1e-9
_KNOWN = "it has learnt from all exam rows, or from near ones"
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
    found = {result.candidate: _fault(result, teacher) for result in results}
    usable = [result for result in results if found[result.candidate] is None]
    if not usable:
        faults = [f"{candidate}: {fault}" for candidate, fault in found.items()]
        return Choice(candidate=None, reason="; ".join(faults) or "there was no candidate")
    best = max(usable, key=_score)
    chosen = next(result for result in usable if not _worse(result, best))
    said = _figures(chosen)
    if chosen is not best:
        said += f"; ties with {_figures(best)} and costs less"
    others = [_figures(result) for result in usable if result not in (chosen, best)]
    others += [f"{name} out ({fault})" for name, fault in found.items() if fault is not None]
    beside = [*others, f"teacher {_score(teacher):.3f}" if teacher.scores else "teacher not scored"]
    said = f"{said} (beside: {'; '.join(beside)})"
    if previous is not None and not previous.scores:
        why = "none of its answers could be scored" if previous.rows else _KNOWN
        said += f", not compared with the previous student {previous.candidate}: {why}"
    elif previous is not None:
        if _worse(chosen, previous):
            reason = f"{said}. Not chosen: the previous student is better, {_figures(previous)}"
            return Choice(candidate=None, reason=reason)
        said += f", not worse than the previous student, {_figures(previous)}"
    return Choice(candidate=chosen.candidate, reason=f"{said}. {_SELECTS}")


def _fault(result: ExamResult, teacher: ExamResult) -> str | None:
    """Why a result can't be chosen at all."""
    if result.unanswered_share > MOST_UNANSWERED:
        why = _commonest(result.unanswered)
        return f"{result.unanswered_share:.1%} of the rows were not answered, mostly: {why}"
    if result.failure_share > MOST_FAILURES:
        why = _commonest(result.failures)
        return f"{result.failure_share:.1%} of its answers were unusable, mostly: {why}"
    if not result.scores:
        why = _commonest(result.not_scored) if result.not_scored else "the exam has no rows"
        return f"nothing could be scored ({why})"
    if result.not_scored_share > teacher.not_scored_share + MOST_LESS_SCORED:
        return (
            f"{result.not_scored_share:.1%} of its answers could not be scored, of the teacher's "
            f"{teacher.not_scored_share:.1%}, mostly: {_commonest(result.not_scored)}"
        )
    return None


def _commonest(reasons: Mapping[str, int]) -> str:
    return max(reasons, key=lambda reason: reasons[reason])


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
    on = f"{result.n}" if result.n == result.rows else f"{result.n} of {result.rows}"
    return f"{result.candidate}{trainer} {_score(result):.3f} on {on} rows"
