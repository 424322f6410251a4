"""From traces to a dataset, or to what is missing. Pure: the same traces give the same hash."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from distiller.chat import Message, message_of
from distiller.dataset.clean import cap_exam, decontaminate, deduplicate
from distiller.dataset.label import label
from distiller.dataset.text import digest, messages_of
from distiller.dataset.values import (
    PLAIN_PREDICTOR,
    Dataset,
    DatasetSpec,
    Drop,
    Dropped,
    Funnel,
    Outcome,
    Refused,
    Row,
    Split,
    TooFewRows,
    Trace,
)
from distiller.skeleton import skeleton_of

_SPLIT_ORDER = {split: place for place, split in enumerate(Split)}
_WARN_NEAR_SHARE = 0.2
_WARN_ROWS = 200


def build(traces: Sequence[Trace], spec: DatasetSpec) -> Outcome:
    """Label, filter, deduplicate, decontaminate, count, hash."""
    predictor = _predictor(traces, spec)
    if isinstance(predictor, Refused):
        return predictor
    entries = [entry for trace in traces for entry in label(trace, predictor, spec)]
    rows = [entry for entry in entries if isinstance(entry, Row)]
    dropped = [entry for entry in entries if isinstance(entry, Dropped)]
    passed = _pass_rate(entries)

    exam = cap_exam(_of(rows, Split.EXAM), spec.max_exam_rows)
    taught = deduplicate(_of(rows, Split.TRAIN, Split.DEV), program=spec.program)
    held_out = [*exam.kept, *_of(rows, Split.CALIBRATION), *_of(taught.kept, Split.DEV)]
    candidates = _of(taught.kept, Split.TRAIN)
    train = decontaminate(candidates, held_out, program=spec.program)

    kept = sorted([*train.kept, *held_out], key=_order)
    dropped += [*exam.dropped, *taught.dropped, *train.dropped]
    funnel = _funnel(
        len(traces),
        kept,
        dropped,
        pass_rate=passed,
        candidates=len(candidates),
        plain=not spec.program,
    )
    short = _too_few(kept, funnel, spec)
    if short is not None:
        return short
    return freeze(kept, dropped, funnel, spec, predictor)


def freeze(
    rows: Iterable[Row],
    dropped: Iterable[Dropped],
    funnel: Funnel,
    spec: DatasetSpec,
    predictor: str,
) -> Dataset:
    """Sort and hash. The hash covers the rows, their splits, sources and weights."""
    ordered = tuple(sorted(rows, key=_order))
    manifest = [
        [row.trace_id, row.call_id, row.predictor, row_sha256(row), row.split, row.source]
        for row in ordered
    ]
    sha256 = digest([spec.route, spec.program_version, spec.metric_hash, manifest])
    return Dataset(
        dataset_id=f"d-{digest([sha256, spec.cutoff])[:12]}",
        sha256=sha256,
        spec=spec,
        predictor=predictor,
        rows=ordered,
        dropped=tuple(sorted(dropped, key=lambda x: (x.trace_id, x.call_id or "", x.reason))),
        funnel=funnel,
    )


def row_sha256(row: Row) -> str:
    """Hash of what a trainer or an exam sees of a row."""
    return digest(
        [row.predictor, row.inputs, row.outputs, row.gold, row.request, row.answer, row.weight]
    )


def _predictor(traces: Sequence[Trace], spec: DatasetSpec) -> str | Refused:
    """The one predictor to train. Several need a student per predictor: not built yet."""
    if not spec.program:
        return PLAIN_PREDICTOR
    names = sorted(
        {
            call.predictor
            for trace in traces
            if trace.program_version == spec.program_version
            for call in trace.calls
        }
    )
    if len(names) > 1:
        return Refused(
            reason=f"the program of route {spec.route!r} has {len(names)} predictors "
            f"({', '.join(names)}); distilling takes programs with one predictor so far. Split "
            "the program into routes of one predictor each, or keep this route on its teacher"
        )
    return names[0] if names else "program"


def _pass_rate(entries: Iterable[Row | Dropped]) -> float | None:
    """Share of the scored train and dev traces whose own answer passed."""
    scored = [e for e in entries if e.split in (Split.TRAIN, Split.DEV) and e.score is not None]
    if not scored:
        return None
    return sum(isinstance(e, Row) and e.source == "teacher" for e in scored) / len(scored)


def _funnel(
    traces: int,
    kept: Sequence[Row],
    dropped: Sequence[Dropped],
    *,
    pass_rate: float | None,
    candidates: int,
    plain: bool,
) -> Funnel:
    train = _of(kept, Split.TRAIN)
    reasons = Counter(str(entry.reason) for entry in dropped)
    near_share = reasons[Drop.NEAR_HOLDOUT] / candidates if candidates else 0.0
    return Funnel(
        traces=traces,
        rows={str(split): len(_of(kept, split)) for split in Split},
        sources=dict(sorted(Counter(str(row.source) for row in train).items())),
        dropped=dict(sorted(reasons.items())),
        pass_rate=pass_rate,
        near_share=near_share,
        warnings=_warnings(train, near_share, plain=plain),
    )


def _warnings(train: Sequence[Row], near_share: float, *, plain: bool) -> tuple[str, ...]:
    said = []
    if len(train) < _WARN_ROWS:
        said.append(f"only {len(train)} train rows; {_WARN_ROWS} or more make a steadier student")
    if near_share > _WARN_NEAR_SHARE:
        said.append(
            f"decontamination took {near_share:.0%} of the train rows: frequent inputs lie in "
            "exam, calibration or dev too; send a conversation id, so that they share a bucket"
        )
    # A program's prompts are rendered later, all from one signature.
    if plain and train and not skeleton_of(map(_instructions, train)).binds:
        said.append(
            "the system messages of the train rows differ and share no line: a student would go on "
            "answering whatever they become; put what varies in them on a line of its own"
        )
    return tuple(said)


def _instructions(row: Row) -> list[Message]:
    messages = [message_of(message) for message in messages_of(row.request)]
    return [message for message in messages if message.role != "user"]


def _too_few(kept: Sequence[Row], funnel: Funnel, spec: DatasetSpec) -> TooFewRows | None:
    needs = (
        ("train rows", Split.TRAIN, spec.min_rows),
        ("labelled exam rows", Split.EXAM, spec.min_exam_rows),
    )
    missing = [
        TooFewRows(
            what=what,
            have=funnel.rows[split],
            need=need,
            more_traces=_more_traces(funnel.rows[split], need, funnel.traces),
            funnel=funnel,
        )
        for what, split, need in needs
        if funnel.rows[split] < need
    ]
    # The one that takes longest; what no trace has given yet takes longest of all.
    return max(missing, key=lambda x: x.more_traces or math.inf) if missing else None


def _more_traces(have: int, need: int, traces: int) -> int | None:
    return math.ceil((need - have) * traces / have) if have else None


def _of(rows: Iterable[Row], *splits: Split) -> list[Row]:
    return [row for row in rows if row.split in splits]


def _order(row: Row) -> tuple[int, str, str]:
    return _SPLIT_ORDER[row.split], row.trace_id, row.call_id or ""


def spec_body(spec: DatasetSpec) -> str:
    """The rules as JSON text, for the store."""
    return msgspec.json.encode(spec).decode()
