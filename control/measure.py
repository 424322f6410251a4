"""A route's metric on recorded answers: builds what the metric sees, and asks it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from control.config.values import Config, RouteConfig
from programs.answer import prediction_of
from programs.description import ProgramDescription
from programs.errors import LoadError, ProgramError
from programs.gold import ANSWER, plain_answer, plain_gold, program_gold
from programs.inputs import inputs_of
from programs.metric_client import Metric, metric_for
from programs.metric_hash import metric_hash
from programs.score import Score
from traces.chat import last_user_text

_log = logging.getLogger("limbeck.control")
#: so many answers in a row without a score are no chance of a metric that raises now and then
_UNSCORED = 20


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One delivered answer, with what is known about the truth."""

    #: the recorded request body, JSON
    request: str
    answer: str
    #: the right output, JSON; None: not known
    gold: str | None = None


class Fault(NamedTuple):
    """Why nothing can be scored."""

    #: Unix seconds
    since: float
    why: str


class Measure:
    """Scores answers of one route.

    ``describe`` gives the route's program; None on a plain route, and while its host is unknown.
    """

    def __init__(
        self,
        route: RouteConfig,
        metric: Metric,
        *,
        metric_hash: str,
        describe: Callable[[], ProgramDescription | None],
    ) -> None:
        self._route = route
        self._metric = metric
        self._describe = describe
        #: changes with the metric
        self.metric_hash = metric_hash
        #: False: the metric can score an answer that nobody has labelled
        self.needs_label = needs_label(route)
        #: since when the metric can't be used at all; None: it can, as far as anybody has asked it
        self.fault: Fault | None = None
        #: since when it has scored no answer though it can be used; None: it scores, or few know
        self.scores_nothing: Fault | None = None
        #: of the run of answers without a score that is not over: how many, since when
        self._unscored, self._unscored_since = 0, 0.0

    @property
    def ready(self) -> bool:
        """The program's fields are known; until then nothing can be scored."""
        return self._route.plain or self._describe() is not None

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Why nothing guards a student of the route; none: its answers can be scored."""
        return tuple(fault for fault in (self.fault, self.scores_nothing) if fault is not None)

    async def mark(self, answers: Sequence[Answer], *, exam: bool = False) -> list[Score]:
        """Score each answer, in order; a metric that fails on one gives "not scored".

        ``exam``: they are a candidate's, which may be bad enough that none can be scored. Raises
        `LoadError` where the metric can't be used at all: then nothing is recorded.
        """
        try:
            await self._metric.check()
        except (LoadError, OSError) as error:
            self.fault = self.fault or Fault(since=time.time(), why=str(error))
            raise
        self.fault = None
        scores = [await self._one(answer) for answer in answers]
        if not exam:
            for score in scores:
                self._note(score)
        return scores

    async def close(self) -> None:
        """End the metric's process."""
        await self._metric.close()

    def _note(self, score: Score) -> None:
        if score.not_scored is None:
            self._unscored, self.scores_nothing = 0, None
            return
        if self._unscored == 0:
            self._unscored_since = time.time()
        self._unscored += 1
        if self._unscored >= _UNSCORED:
            self.scores_nothing = Fault(
                since=self._unscored_since,
                why=f"none of {self._unscored} answers, the last one for: {score.not_scored}",
            )

    async def _one(self, answer: Answer) -> Score:
        try:
            example, prediction = self._arguments(answer)
            return await self._metric.score(example, prediction)
        except (ProgramError, msgspec.DecodeError) as error:
            return Score(not_scored=str(error))
        except RecursionError:  # from whoever reads, compares or sends what lies in it
            return Score(not_scored="the request, the answer or the gold is nested too deeply")

    def _arguments(self, answer: Answer) -> tuple[dict[str, Any], dict[str, Any]]:
        body: dict[str, Any] = msgspec.json.decode(answer.request, type=dict[str, Any])
        gold = None if answer.gold is None else msgspec.json.decode(answer.gold)
        program = self._describe()
        if program is None:
            return self._plain(body, gold, answer.answer)
        outputs = program.output_fields
        # What was answered was not rejected, whatever the rule says by now.
        rule = "ignore" if self._route.system == "reject" else self._route.system
        inputs = inputs_of(body, program.input_fields, system=rule)
        right = {} if gold is None else program_gold(gold, outputs)
        return inputs | right, prediction_of(answer.answer, outputs)

    def _plain(
        self, body: dict[str, Any], gold: Any, answer: str
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        as_json = self._route.output == "json"
        messages = body.get("messages", [])
        example = {"messages": messages, "text": last_user_text(messages)}
        prediction: dict[str, Any] = {ANSWER: plain_answer(answer, as_json=as_json)}
        if as_json:
            prediction |= prediction_of(prediction[ANSWER], ())
        if gold is not None:
            example |= plain_gold(gold, as_json=as_json).fields
        return example, prediction


def measures_of(
    config: Config, describe: Callable[[str], ProgramDescription | None]
) -> tuple[dict[str, Measure], list[str]]:
    """The measures of all routes with a metric that can be found, and what is wrong with others.

    ``describe``: route -> its program, as far as it is known.
    """
    measures, problems = {}, []
    for name, route in config.routes.items():
        if route.metric is None:
            continue
        spec = str(route.metric)
        try:
            hashed = metric_hash(spec, config.folder)
            metric = metric_for(spec, metric_hash=hashed, route=name, user_dir=config.folder)
        except ProgramError as error:
            _log.error("route %s: %s", name, error)
            problems.append(f"route {name}: {error}; nothing is scored, and no student serves")
            continue
        measures[name] = Measure(
            route, metric, metric_hash=hashed, describe=partial(describe, name)
        )
    return measures, problems


def needs_label(route: RouteConfig) -> bool:
    """Whether the route's metric waits for the truth.

    `exact_match` compares with it. A user's function is taken to need it where the route declares
    a source of truth (coverage ``all`` or ``audit``), and to do without where there is none.
    """
    if route.metric is None or route.metric.field is not None:
        return True
    return not {"all", "audit"}.isdisjoint(route.feedback.values())


def gold_of(*, gold: str | None, confirmed: bool | None, answer: str) -> str | None:
    """The right output that a label on ``answer`` tells, as JSON; None: it tells none.

    A confirmed answer is the right output itself. A refused one says nothing about the right one.
    """
    if gold is not None:
        return gold
    return msgspec.json.encode(answer).decode() if confirmed else None
