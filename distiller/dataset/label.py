"""One trace to its rows, or to the reason why it gives none.

Train and dev keep what passed the metric and what was corrected. Exam and calibration stay
unfiltered: they keep the teacher's failures, and only labels that don't depend on the answer
(coverage all or audit) count there.
"""

from __future__ import annotations

from typing import Any

import msgspec

from distiller.dataset.gold import answer_fields, corrected, plain_gold, program_gold
from distiller.dataset.steps import Step, steps_of
from distiller.dataset.text import canonical
from distiller.dataset.values import (
    PLAIN_PREDICTOR,
    DatasetSpec,
    Drop,
    Dropped,
    Row,
    Source,
    Split,
    Trace,
)
from traces.buckets import split_of

_FINISHED = frozenset({None, "stop", "tool_calls"})
_EVIDENCE = frozenset({"all", "audit"})


def label(trace: Trace, predictor: str, spec: DatasetSpec) -> list[Row | Dropped]:
    """The rows of one trace; at least one entry, so that nothing vanishes without a reason."""
    split = None if trace.bucket is None else Split(split_of(trace.bucket))
    reason = _ineligible(trace, spec)
    if reason is None and split is not None:
        steps = steps_of(trace, predictor, spec)
        if isinstance(steps, Drop):
            reason = steps
        elif split in (Split.EXAM, Split.CALIBRATION):
            return [_held_out(trace, steps, predictor, split, spec)]
        else:
            return _trained_on(trace, steps, predictor, split, spec)
    return [_dropped(trace, predictor, split, reason or Drop.NO_BUCKET)]


def _ineligible(trace: Trace, spec: DatasetSpec) -> Drop | None:
    rules = (
        (trace.state != "done" or trace.finish not in _FINISHED, Drop.NOT_FINISHED),
        (trace.status != 200, Drop.ERROR_STATUS),
        (trace.finish_reason not in _FINISHED, Drop.TRUNCATED),
        (trace.fallback is not None, Drop.FALLBACK),
        (trace.retry, Drop.RETRY),
        (trace.program_version != spec.program_version, Drop.OTHER_VERSION),
        (trace.bucket is None, Drop.NO_BUCKET),
        (trace.served_by != "teacher" and trace.gold is None, Drop.STUDENT_SERVED),
    )
    return next((reason for broken, reason in rules if broken), None)


def _held_out(
    trace: Trace, steps: list[Step], predictor: str, split: Split, spec: DatasetSpec
) -> Row | Dropped:
    """An exam or calibration row: teacher-served, labelled, whatever the score."""
    step = steps[-1]
    if trace.served_by != "teacher":
        return _dropped(trace, predictor, split, Drop.STUDENT_SERVED, step)
    if len(steps) > 1:
        return _dropped(trace, predictor, split, Drop.REPEATED_PREDICTOR, step)
    outputs = _right_outputs(trace, step, spec)
    if isinstance(outputs, Drop):
        return _dropped(trace, predictor, split, outputs, step)
    row = _row(trace, step, predictor, split, Source.GOLD, outputs)
    return msgspec.structs.replace(row, gold=_gold_text(trace))


def _right_outputs(trace: Trace, step: Step, spec: DatasetSpec) -> dict[str, Any] | Drop:
    """What a label that is evidence says to be right. A wrong answer alone says nothing of it."""
    if trace.coverage in _EVIDENCE:
        if trace.gold is not None:
            return _correction(trace.gold, step, spec, taught=True)
        if trace.confirmed is False:
            return Drop.NO_GOLD
    elif spec.needs_label:
        return Drop.NO_LABEL
    return corrected(step.outputs, {})


def _gold_text(trace: Trace) -> str | None:
    """The right output as the metric gets it: a confirmed answer is right itself."""
    if trace.coverage not in _EVIDENCE:
        return None
    if trace.gold is not None:
        return trace.gold
    return canonical(trace.answer).decode() if trace.confirmed else None


def _trained_on(
    trace: Trace, steps: list[Step], predictor: str, split: Split, spec: DatasetSpec
) -> list[Row | Dropped]:
    """Train and dev rows: the teacher's outputs where they passed, else the corrected ones."""
    taught = trace.served_by == "teacher"
    passed = trace.score is not None and trace.score >= spec.pass_score
    if taught and (passed or (trace.score is None and trace.confirmed)):
        return [_row(trace, s, predictor, split, Source.TEACHER, s.outputs) for s in steps]
    step = steps[-1]
    if trace.gold is None:
        unscored = trace.score is None
        reason = Drop.NOT_SCORED if unscored else Drop.BELOW_PASS
        return [_dropped(trace, predictor, split, reason, step)]
    if len(steps) > 1:
        return [_dropped(trace, predictor, split, Drop.REPEATED_PREDICTOR, step)]
    outputs = _correction(trace.gold, step, spec, taught=taught)
    if isinstance(outputs, Drop):
        return [_dropped(trace, predictor, split, outputs, step)]
    evidence = trace.coverage in _EVIDENCE
    source = Source.CORRECTION if evidence else Source.VOLUNTEERED
    return [_row(trace, step, predictor, split, source, outputs)]


def _correction(raw: str, step: Step, spec: DatasetSpec, *, taught: bool) -> dict[str, Any] | Drop:
    """The right output. Of a student's answer nothing may stay: there gold must cover it all."""
    if not spec.program:
        return plain_gold(raw, step.outputs[PLAIN_PREDICTOR], as_json=spec.as_json)
    gold = program_gold(raw, step.outputs)
    if isinstance(gold, Drop):
        return gold
    if not taught and not answer_fields(step.outputs) <= set(gold):
        return Drop.GOLD_INCOMPLETE
    return corrected(step.outputs, gold)


def _row(
    trace: Trace,
    step: Step,
    predictor: str,
    split: Split,
    source: Source,
    outputs: dict[str, Any],
) -> Row:
    return Row(
        trace_id=trace.trace_id,
        call_id=step.call_id,
        predictor=predictor,
        split=split,
        source=source,
        inputs=step.inputs,
        outputs=outputs,
        request=trace.request,
        answer=trace.answer if trace.served_by == "teacher" else None,
        score=trace.score,
    )


def _dropped(
    trace: Trace, predictor: str, split: Split | None, reason: Drop, step: Step | None = None
) -> Dropped:
    return Dropped(
        trace_id=trace.trace_id,
        call_id=step.call_id if step else None,
        predictor=predictor,
        split=split,
        reason=reason,
        score=trace.score,
    )
