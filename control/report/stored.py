"""What a report reads from the store: one struct per named query of ``report.sql``."""

from __future__ import annotations

import msgspec


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    served_by: str
    n: int
    failed: int
    fallbacks: int
    p50_ms: float | None
    p95_ms: float | None
    #: of the answers whose cost is known
    mean_cost_usd: float | None
    #: answers without a known cost
    no_cost: int


class Share(msgspec.Struct, frozen=True, kw_only=True):
    at: float
    n: int
    by_student: int


class Span(msgspec.Struct, frozen=True, kw_only=True):
    first: float | None
    last: float | None
    n: int


class PairOutcome(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    outcome: str
    n: int
    cost_usd: float | None
    #: replays without a known cost
    unknown: int


class Disagreement(msgspec.Struct, frozen=True, kw_only=True):
    trace_id: str
    text: str | None
    teacher_answer: str | None
    student_answer: str | None
    teacher_score: float
    student_score: float


class StudentRow(msgspec.Struct, frozen=True, kw_only=True):
    student: str
    ts: float
    trainer: str
    program_version: str
    metric_hash: str
    dataset_id: str
    job_id: str | None
    artefact_sha256: str
    cutoff: float
    dataset_sha256: str | None
    #: `distiller.dataset.values.Funnel` as JSON
    counts: str | None


class ExamRow(msgspec.Struct, frozen=True, kw_only=True):
    candidate: str
    #: None: not trained, such as the teacher
    trainer: str | None
    kind: str
    n: int
    score: float | None
    low: float | None
    high: float | None
    smallest_gap: float | None


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    seq: int
    ts: float
    student: str
    event: str
    stage_from: str | None
    stage_to: str | None
    actor: str
    reason: str


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    #: `router.evidence.EvidenceState` as JSON
    state: str


class CostRow(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    usd: float | None
    #: expenses of an unknown size
    unknown: int
