"""What the route's predictor was given in one trace, and what it answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from distiller.chat import message_of
from distiller.dataset.text import canonical, messages_of, plain_inputs
from distiller.dataset.values import PLAIN_PREDICTOR, Call, DatasetSpec, Drop, Trace
from programs.answer import HIDDEN, prediction_of
from programs.gold import ABOUT_THE_ANSWER, plain_answer


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the predictor."""

    call_id: str | None = None
    inputs: dict[str, Any]
    outputs: dict[str, Any]


def steps_of(trace: Trace, predictor: str, spec: DatasetSpec) -> list[Step] | Drop:
    """The distinct complete runs of the predictor, in order; or why there is none to learn from."""
    return _of_program(trace, predictor) if spec.program else _of_plain(trace, spec)


def _of_plain(trace: Trace, spec: DatasetSpec) -> list[Step] | Drop:
    """The request and its answer, if a student can be asked it: students take text alone."""
    try:
        messages = messages_of(trace.request)
        for message in messages:
            message_of(message)
    except ValueError:
        return Drop.NOT_TEXT
    inputs, answer = plain_inputs(messages), trace.answer or ""
    if not inputs["text"].strip() or not answer.strip():
        return Drop.NO_TEXT
    outputs = {PLAIN_PREDICTOR: plain_answer(answer, as_json=spec.as_json)}
    return [Step(inputs=inputs, outputs=outputs)]


def _of_program(trace: Trace, predictor: str) -> list[Step] | Drop:
    runs: dict[bytes, list[Step]] = {}
    for call in trace.calls:
        if call.predictor == predictor and _complete(call):
            step = Step(call_id=call.call_id, inputs=call.inputs, outputs=call.outputs or {})
            runs.setdefault(canonical(call.inputs), []).append(step)
    if not runs:
        return Drop.NO_CALL
    counted = [_counted(same, trace.answer or "") for same in runs.values()]
    steps = [step for step in counted if step is not None]
    return steps if len(steps) == len(counted) else Drop.REPEATED_PREDICTOR


def _complete(call: Call) -> bool:
    if call.error is not None or not call.inputs or not call.outputs:
        return False
    return None not in call.outputs.values()


def _counted(attempts: Sequence[Step], answer: str) -> Step | None:
    """The run that counts, of runs with equal inputs; None: it is not known.

    A program may ask several times and take the best (BestOfN, Refine): the one that it answered.
    """
    for step in reversed(attempts):
        if _without(HIDDEN, step.outputs) == _without(HIDDEN, prediction_of(answer, step.outputs)):
            return step
    said = {canonical(_without(ABOUT_THE_ANSWER, step.outputs)) for step in attempts}
    return attempts[-1] if len(said) == 1 else None


def _without(names: frozenset[str], outputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in outputs.items() if name not in names}
