"""The sections of a report that come straight from the store."""

from __future__ import annotations

import msgspec

from control.candidates import CandidateKey
from control.config.values import RouteConfig
from control.report import words
from control.report.model import Difference, Exam, Happened, Named, Outcome, Served, Slice
from control.report.stored import (
    CostRow,
    Disagreement,
    EventRow,
    ExamRow,
    PairOutcome,
    Share,
    Span,
    StudentRow,
    Traffic,
)
from distiller.dataset.values import Funnel
from router.state import Rollout
from traces.store import Store

_SLICES = 240
_DISAGREEMENTS = 20


def key(route: str, rollout: Rollout) -> CandidateKey:
    """What the pairs of a candidate are stored under."""
    return CandidateKey(route=route, student=rollout.student, k=rollout.k)


def traffic(store: Store, route: str, rollout: Rollout | None) -> list[Traffic]:
    student = rollout.student if rollout else ""
    return store.all("report_traffic", Traffic, route=route, student=student, since=0.0)


def served(row: Traffic) -> Served:
    return Served(
        served_by=row.served_by,
        n=row.n,
        p50=words.milliseconds(row.p50_ms),
        p95=words.milliseconds(row.p95_ms),
        per_1000=words.dollars(None if row.mean_cost_usd is None else row.mean_cost_usd * 1000),
        failed=row.failed,
        fallbacks=row.fallbacks,
    )


def money(store: Store, route: str, traffic: list[Traffic], config: RouteConfig) -> list[str]:
    costs = store.all("report_costs", CostRow, route=route)
    by_side = {row.served_by: row for row in traffic}
    teacher, student = by_side.get("teacher"), by_side.get("student")
    lines = []
    if (
        teacher
        and student
        and teacher.mean_cost_usd is not None
        and student.mean_cost_usd is not None
    ):
        # What the teacher would have cost for the requests that the student answered.
        saved = student.n * (teacher.mean_cost_usd - student.mean_cost_usd)
        spent = sum(row.usd for row in costs if row.usd is not None)
        lines.append(
            f"Saved on {words.plural(student.n, 'student-served request')}: "
            f"{words.dollars(saved)}; "
            f"spent on evidence and training: {words.dollars(spent)}; "
            f"net so far: {words.dollars(saved - spent)}."
        )
    price = config.student_price
    lines.append(
        f"Assumed price of the student: ${price.input_per_m:g} in and ${price.output_per_m:g} out "
        "per million tokens; of the teacher: as configured for its upstream."
    )
    return lines


def outcomes(store: Store, route: str, rollout: Rollout | None) -> list[Outcome]:
    if rollout is None:
        return []
    rows = store.all("report_outcomes", PairOutcome, **key(route, rollout).params)
    return [
        Outcome(
            kind=row.kind.replace("_", " "), outcome=row.outcome.replace("_", " "), n=row.n,
            cost=words.dollars(row.cost_usd) if row.cost_usd is not None else "-",
        )
        for row in rows
    ]  # fmt: skip


def student(store: Store, route: str, rollout: Rollout | None) -> StudentRow | None:
    if rollout is None:
        return None
    return store.one("report_student", StudentRow, route=route, student=rollout.student)


def exam(store: Store, route: str, rollout: Rollout | None) -> list[Exam]:
    """The teacher and every candidate of the dataset that this student came from."""
    row = student(store, route, rollout)
    if row is None:
        return []
    return [
        Exam(
            candidate=f"{one.candidate} ({one.trainer})" if one.trainer else one.candidate,
            n=one.n,
            score=words.score(one.score),
            interval=words.interval(one.low, one.high),
            gap=words.score(one.smallest_gap),
        )
        for one in store.all("report_exams", ExamRow, route=route, dataset_id=row.dataset_id)
    ]


def funnel(row: StudentRow | None) -> list[Named]:
    if row is None or row.counts is None:
        return []
    funnel = msgspec.json.decode(row.counts, type=Funnel)
    lines = [Named(name="traces looked at", value=f"{funnel.traces:,}")]
    lines += [Named(name=f"{name} rows", value=f"{n:,}") for name, n in funnel.rows.items()]
    lines += [
        Named(name=f"train rows from {name}", value=f"{n:,}") for name, n in funnel.sources.items()
    ]
    lines += [Named(name=f"dropped: {name}", value=f"{n:,}") for name, n in funnel.dropped.items()]
    return lines


def disagreements(store: Store, route: str, rollout: Rollout | None) -> list[Difference]:
    if rollout is None:
        return []
    rows = store.all(
        "report_disagreements", Disagreement, **key(route, rollout).params, most=_DISAGREEMENTS
    )
    return [
        Difference(
            text=row.text or "", teacher_answer=row.teacher_answer or "",
            teacher_score=words.score(row.teacher_score), student_answer=row.student_answer or "",
            student_score=words.score(row.student_score),
        )
        for row in rows
    ]  # fmt: skip


def happened(row: EventRow) -> Happened:
    return Happened(
        at=words.moment(row.ts), student=row.student, event=row.event.replace("_", " "),
        stage_from=row.stage_from or "", stage_to=row.stage_to or "", actor=row.actor,
        reason=row.reason,
    )  # fmt: skip


def lineage(row: StudentRow | None, rollout: Rollout | None) -> list[Named]:
    if row is None or rollout is None:
        return []
    pairs = (
        ("student", row.student), ("artefact sha256", row.artefact_sha256),
        ("trainer", row.trainer), ("job", row.job_id or ""), ("dataset", row.dataset_id),
        ("dataset sha256", row.dataset_sha256 or ""), ("program version", row.program_version),
        ("metric", row.metric_hash), ("learnt from requests until", words.moment(row.cutoff)),
        ("configuration", rollout.hashes.config),
    )  # fmt: skip
    return [Named(name=name, value=value) for name, value in pairs]


def shares(store: Store, route: str) -> list[Slice]:
    span = store.one("report_span", Span, route=route)
    if span is None or span.first is None or span.last is None:
        return []
    slice_s = max(1.0, (span.last - span.first) / _SLICES)
    rows = store.all("report_shares", Share, route=route, slice_s=slice_s)
    return [Slice(at=row.at, n=row.n, by_student=row.by_student) for row in rows]
