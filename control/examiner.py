"""Asks a candidate and the metric on behalf of the exam, and tells whose fault a failure is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from control.budget import cost
from control.candidates import Endpoint
from control.measure import Answer, Measure
from control.replay import Replayer, Reply
from distiller.dataset.values import Row
from distiller.exam import Answered, Failed, Scored, ToScore

_TIMEOUT_S = 60.0
#: no access, a full queue, a passed deadline: statuses of whoever stands before the candidate
_NOT_NOW = frozenset({401, 403, 429, 504})
#: what our servers call an answer that can't be used, a program that raised, a damaged student
_OWN_FAULTS = frozenset({"unusable", "error"})


class Examiner:
    """Asks students and the metric on behalf of the exam.

    ``endpoint``: (route, student) -> where it answers.
    """

    def __init__(
        self,
        replayer: Replayer,
        *,
        measures: Mapping[str, Measure],
        endpoint: Callable[[str, str], Endpoint],
    ) -> None:
        self._replayer = replayer
        self._measures = measures
        self._endpoint = endpoint

    async def ask(self, route: str, student: str, row: Row) -> Answered | Failed:
        """A student's answer to a row's request."""
        end = self._endpoint(route, student)
        reply = await self._replayer.ask(
            end.upstream, end.target, row.request, timeout_s=_TIMEOUT_S
        )
        if reply.answer is not None and reply.failure is None:
            usd = cost(end.price, tokens_in=reply.tokens_in, tokens_out=reply.tokens_out)
            return Answered(text=reply.answer, cost_usd=usd)
        reason = f"{reply.failure} {reply.status}" if reply.status else str(reply.failure)
        if reply.error:
            reason = f"{reason} ({reply.error})"
        return Failed(reason=reason, unreachable=_nobody_there(reply))

    async def score(self, route: str, answers: Sequence[ToScore]) -> Sequence[Scored]:
        """The route's metric on some answers, in order."""
        marks = await self._measures[route].mark(
            [Answer(request=one.request, answer=one.answer, gold=one.gold) for one in answers],
            exam=True,
        )
        return [Scored(score=mark.value, not_scored=mark.not_scored) for mark in marks]


def _nobody_there(reply: Reply) -> bool:
    """Whether a failure says nothing about the candidate: nobody there, nobody in time, no access.

    Our own servers name in a header what they refuse for; a failure of theirs without one, and
    anybody else's, comes from what lies between.
    """
    if reply.failure in ("connect", "timeout"):
        return True
    status = reply.status or 0
    return status in _NOT_NOW or (status >= 500 and reply.error not in _OWN_FAULTS)
