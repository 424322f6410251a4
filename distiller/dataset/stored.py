"""Datasets and the trace store: reads the traces, freezes a dataset, makes it again later."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec

from distiller.dataset.build import row_sha256, spec_body
from distiller.dataset.text import messages_of, plain_inputs
from distiller.dataset.values import (
    Call,
    Dataset,
    DatasetSpec,
    Dropped,
    Funnel,
    Row,
    Source,
    Split,
    Trace,
)
from distiller.errors import DistillerError
from traces.store import Store
from traces.times import from_seconds

#: newest traces of a route that are looked at; more only make a tick slow
MOST_TRACES = 50_000


class DatasetError(DistillerError):
    """A stored dataset is missing, or its rows can't be made again."""


class _StoredTrace(msgspec.Struct, frozen=True, kw_only=True):
    trace_id: str
    ts: float
    state: str
    status: int | None
    finish: str | None
    finish_reason: str | None
    served_by: str
    fallback: str | None
    retry: bool
    program_version: str
    bucket: int | None
    request: str
    answer: str | None
    gold: str | None
    confirmed: bool | None
    coverage: str | None
    score: float | None


class _StoredCall(msgspec.Struct, frozen=True, kw_only=True):
    trace_id: str
    call_id: str
    predictor: str
    side: str
    inputs: str | None
    outputs: str | None
    error: str | None


class _StoredRow(msgspec.Struct, frozen=True, kw_only=True):
    trace_id: str
    call_id: str | None
    predictor: str
    split: Split
    source: Source
    row_sha256: str
    weight: float
    n_dups: int
    score: float | None
    outputs: str
    gold: str | None
    inputs: str | None
    request: str
    answer: str | None


class _StoredDataset(msgspec.Struct, frozen=True, kw_only=True):
    dataset_id: str
    sha256: str
    predictor: str
    counts: str
    config: str


def read_traces(store: Store, spec: DatasetSpec) -> list[Trace]:
    """The newest traces of the route up to the cutoff, with calls, labels and scores as of then."""
    cutoff_us = round(spec.cutoff * 1e6)
    traces = store.all(
        "dataset_traces",
        _StoredTrace,
        route=spec.route,
        metric_hash=spec.metric_hash,
        cutoff_us=cutoff_us,
        at_most=MOST_TRACES,
    )
    calls: defaultdict[str, list[Call]] = defaultdict(list)
    if spec.program:
        for call in store.all(
            "dataset_calls",
            _StoredCall,
            route=spec.route,
            program_version=spec.program_version,
            cutoff_us=cutoff_us,
            at_most=MOST_TRACES,
        ):
            calls[call.trace_id].append(_call(call))
    return [
        Trace(**msgspec.structs.asdict(trace), calls=tuple(calls[trace.trace_id]))
        for trace in traces
    ]


def save(store: Store, dataset: Dataset, *, now: float) -> None:
    """Freeze a dataset: its row, its rows, and what was left out. Inside a transaction."""
    if store.one("dataset", _StoredDataset, dataset_id=dataset.dataset_id) is not None:
        return
    spec = dataset.spec
    store.append("datasets", [(
        dataset.dataset_id, from_seconds(now), spec.route, dataset.predictor, spec.program_version,
        spec.metric_hash, from_seconds(spec.cutoff), dataset.sha256,
        msgspec.json.encode(dataset.funnel).decode(), spec_body(spec),
    )])  # fmt: skip
    kept = [(
        dataset.dataset_id, row.trace_id, row.call_id, row.predictor, str(row.split),
        str(row.source), None, row_sha256(row), row.weight, row.n_dups, row.score,
        msgspec.json.encode(row.outputs).decode(), row.gold,
    ) for row in dataset.rows]  # fmt: skip
    dropped = [(
        dataset.dataset_id, row.trace_id, row.call_id, row.predictor,
        None if row.split is None else str(row.split), None, str(row.reason), None, None, None,
        row.score, None, None,
    ) for row in dataset.dropped]  # fmt: skip
    store.append("dataset_rows", [*kept, *dropped])


def load(store: Store, dataset_id: str) -> Dataset:
    """A frozen dataset. Raises `DatasetError` if a row is no longer what was frozen."""
    head = store.one("dataset", _StoredDataset, dataset_id=dataset_id)
    if head is None:
        raise DatasetError(f"dataset {dataset_id!r} is not in the store")
    spec = msgspec.json.decode(head.config, type=DatasetSpec)
    stored = store.all("dataset_rows_kept", _StoredRow, dataset_id=dataset_id)
    rows = [_row(one) for one in stored]
    for row, one in zip(rows, stored, strict=True):
        if row_sha256(row) != one.row_sha256:
            raise DatasetError(
                f"dataset {dataset_id}: the row of trace {row.trace_id} is not what was frozen "
                "(were traces erased or changed?); start a new distillation"
            )
    funnel = msgspec.json.decode(head.counts, type=Funnel)
    missing = sum(funnel.rows.values()) - len(rows)
    if missing:
        raise DatasetError(
            f"dataset {dataset_id}: {missing} of its rows have lost their traces; start a new "
            "distillation"
        )
    return Dataset(
        dataset_id=head.dataset_id,
        sha256=head.sha256,
        spec=spec,
        predictor=head.predictor,
        rows=tuple(sorted(rows, key=lambda row: (list(Split).index(row.split), row.trace_id))),
        dropped=tuple(store.all("dataset_rows_dropped", Dropped, dataset_id=dataset_id)),
        funnel=funnel,
    )


def rows_left(store: Store, dataset_id: str) -> list[Row]:
    """The rows of a dataset whose traces are still there, whatever became of the others."""
    stored = store.all("dataset_rows_kept", _StoredRow, dataset_id=dataset_id)
    return [_row(one) for one in stored]


def _call(stored: _StoredCall) -> Call:
    return Call(
        trace_id=stored.trace_id,
        call_id=stored.call_id,
        predictor=stored.predictor,
        side=stored.side,
        inputs=_object(stored.inputs) or {},
        outputs=_object(stored.outputs),
        error=stored.error,
    )


def _row(stored: _StoredRow) -> Row:
    inputs = _object(stored.inputs)
    return Row(
        trace_id=stored.trace_id,
        call_id=stored.call_id,
        predictor=stored.predictor,
        split=stored.split,
        source=stored.source,
        inputs=plain_inputs(messages_of(stored.request)) if inputs is None else inputs,
        outputs=_object(stored.outputs) or {},
        gold=stored.gold,
        request=stored.request,
        answer=stored.answer,
        score=stored.score,
        weight=stored.weight,
        n_dups=stored.n_dups,
    )


def _object(text: str | None) -> dict[str, Any] | None:
    return None if text is None else msgspec.json.decode(text, type=dict[str, Any] | None)
