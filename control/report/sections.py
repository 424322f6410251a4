"""The sections of a report that come straight from the store."""

from __future__ import annotations

from collections.abc import Sequence

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

#: the plot of shares: at most so many slices of time, with so many requests in each on average
_SLICES, _IN_A_SLICE = 240, 20
_DISAGREEMENTS = 20
#: what `report_replays` calls the student
REPLAYED = "student, replayed"


def key(route: str, rollout: Rollout) -> CandidateKey:
    """What the pairs of a candidate are stored under."""
    return CandidateKey(route=route, student=rollout.student, k=rollout.k)


def traffic(store: Store, route: str, rollout: Rollout | None) -> list[Traffic]:
    """Who answered, the student's replays where it has answered nobody yet."""
    student = rollout.student if rollout else ""
    rows = store.all("report_traffic", Traffic, route=route, student=student)
    if rollout is not None and side(rows, "student") is None:
        rows += store.all("report_replays", Traffic, **key(route, rollout).params)
    return rows


def side(rows: Sequence[Traffic], *names: str) -> Traffic | None:
    """The row of the first of these that is there."""
    return next((row for name in names for row in rows if row.served_by == name), None)


def served(row: Traffic) -> Served:
    return Served(
        served_by=row.served_by,
        n=row.n,
        p50=words.milliseconds(row.p50_ms),
        p95=words.milliseconds(row.p95_ms),
        per_1000=words.per_1000(row.mean_cost_usd),
        failed=row.failed,
        fallbacks=row.fallbacks,
    )


def money(store: Store, route: str, traffic: list[Traffic], config: RouteConfig) -> list[str]:
    """What the student saves, what finding out cost, and what both figures assume."""
    teacher, student = side(traffic, "teacher"), side(traffic, "student", REPLAYED)
    saved = None
    lines = []
    if teacher and student:
        saved = _saved(teacher, student)
        lines.append(_says_saved(student, saved))
    costs = store.all("report_costs", CostRow, route=route)
    if costs:
        each = ", ".join(
            f"{row.kind.replace('_', ' ')} {words.spent(row.usd, row.unknown)}" for row in costs
        )
        known, unknown = sum(row.usd or 0.0 for row in costs), sum(row.unknown for row in costs)
        line = f"Spent on evidence and training: {words.spent(known, unknown)} ({each})"
        if student and student.served_by != REPLAYED:
            net = None if saved is None or unknown else student.n * saved - known
            line += f"; net {words.dollars(net)}"
        lines.append(f"{line}.")
    if student:
        price = config.student_price
        lines.append(
            f"Assumed price of the student: ${price.input_per_m:g} in and "
            f"${price.output_per_m:g} out per million tokens; of the teacher: as configured for "
            "its upstream."
        )
    return lines


def _saved(teacher: Traffic, student: Traffic) -> float | None:
    """By one answer, against the teacher's mean cost."""
    if teacher.mean_cost_usd is None or student.mean_cost_usd is None:
        return None
    return teacher.mean_cost_usd - student.mean_cost_usd


def _says_saved(student: Traffic, saved: float | None) -> str:
    if saved is None:
        return "What the student saves is unknown: not all prices are known."
    if student.served_by == REPLAYED:
        # It has answered nobody: its replays say what an answer of its own costs.
        return f"Every 1,000 requests that the student answers would save {words.per_1000(saved)}."
    return (
        f"Saved on {words.plural(student.n, 'request')} that the student answered: "
        f"{words.dollars(student.n * saved)}, against the teacher's mean cost."
    )


def outcomes(store: Store, route: str, rollout: Rollout | None) -> list[Outcome]:
    if rollout is None:
        return []
    rows = store.all("report_outcomes", PairOutcome, **key(route, rollout).params)
    return [
        Outcome(
            kind=row.kind.replace("_", " "), outcome=row.outcome.replace("_", " "), n=row.n,
            cost=words.spent(row.cost_usd, row.unknown),
        )
        for row in rows
    ]  # fmt: skip


def student(store: Store, route: str, rollout: Rollout | None) -> StudentRow | None:
    if rollout is None:
        return None
    return store.one("report_student", StudentRow, route=route, student=rollout.student)


def exam(store: Store, route: str, row: StudentRow | None) -> list[Exam]:
    """The teacher and every candidate of the dataset that this student came from."""
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
    if rollout is None:
        return []
    learnt = () if row is None else (
        ("student", row.student), ("artefact sha256", row.artefact_sha256),
        ("trainer", row.trainer), ("job", row.job_id or ""), ("dataset", row.dataset_id),
        ("dataset sha256", row.dataset_sha256 or ""), ("program version", row.program_version),
        ("metric", row.metric_hash), ("learnt from requests until", words.moment(row.cutoff)),
    )  # fmt: skip
    pairs = (*learnt, ("configuration", rollout.hashes.config))
    return [Named(name=name, value=value) for name, value in pairs if value]


def shares(store: Store, route: str, rollout: Rollout | None) -> list[Slice]:
    """What share of the route's requests the student answered, over time."""
    span = store.one("report_span", Span, route=route)
    if span is None or span.first is None or span.last is None:
        return []
    slices = max(1, min(_SLICES, span.n // _IN_A_SLICE))
    # Whole slices only, the last one too: a nearly empty one would show a share of chance.
    slice_s = max(1.0, (span.last - span.first) / slices)
    rows = store.all(
        "report_shares", Share, route=route, student=rollout.student if rollout else "",
        first=span.first, slice_s=slice_s, slices=slices,
    )  # fmt: skip
    return [Slice(at=row.at, n=row.n, by_student=row.by_student) for row in rows]
