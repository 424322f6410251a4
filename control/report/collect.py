"""Gathers everything that a report says about one route."""

from __future__ import annotations

import hashlib
import math
from importlib.metadata import version

import msgspec

from control.config.values import RouteConfig
from control.evidence_feed import consumed
from control.report import sections, verdict, words
from control.report.history import history
from control.report.model import Basis, Exam, ReportBody
from control.report.numbers import numbers
from control.report.stored import Checkpoint, EventRow
from router.events import Hashes
from router.evidence import Evidence, EvidenceState
from router.forms import bar_text
from router.policy import GatePolicy
from router.state import Rollout, RouteRollouts
from router.verdicts import EvidenceSummary
from traces.store import Store


def collect(
    store: Store,
    route: str,
    student: str | None,
    config: RouteConfig,
    rollouts: RouteRollouts,
    now: float,
) -> ReportBody:
    """Gather one route's report: of ``student``, or of the newest one.

    Raises `LookupError` for a student that has no rollout.
    """
    rollout = _rollout(rollouts, student)
    gate = config.policy.gate
    summary: EvidenceSummary | None = None
    state: EvidenceState | None = None
    points = []
    if rollout is not None:
        key = sections.key(route, rollout)
        evidence = Evidence(config.policy, k=rollout.k, marks=rollout.marks)
        points = history(evidence, consumed(store, key))
        _exclude_outages(evidence, store.one("evidence_checkpoint", Checkpoint, **key.params))
        state, summary = evidence.state(), evidence.summary(now)
    guard = verdict.nearest_alarm(summary) if summary else None
    latest = points[-1] if points else None
    events = store.all("report_events", EventRow, route=route)
    traffic = sections.traffic(store, route, rollout)
    student_row = sections.student(store, route, rollout)
    exam = sections.exam(store, route, student_row)
    return ReportBody(
        basis=_basis(rollouts, rollout, summary, state, exam),
        limbeck=version("limbeck"),
        made=words.moment(now),
        route=route,
        student=rollout.student if rollout else None,
        k=rollout.k if rollout else None,
        stage=rollout.stage.value if rollout else None,
        headline=verdict.headline(rollout, summary, latest, config.policy.rollout),
        tone=verdict.tone(rollout),
        bar=_bar(gate),
        tiles=verdict.tiles(
            summary,
            latest,
            sections.side(traffic, "teacher"),
            sections.side(traffic, "student", sections.REPLAYED),
        ),
        numbers=numbers(summary, gate) if summary and summary.n else [],
        outcomes=sections.outcomes(store, route, rollout),
        traffic=[sections.served(row) for row in traffic],
        money=sections.money(store, route, traffic, config),
        exam=exam,
        funnel=sections.funnel(student_row),
        disagreements=sections.disagreements(store, route, rollout),
        events=[sections.happened(row) for row in events],
        caveats=verdict.caveats(
            summary,
            answered=sum(row.n for row in traffic),
            no_cost=sum(row.no_cost for row in traffic),
        ),
        commands=verdict.commands(route, rollout),
        lineage=sections.lineage(student_row, rollout),
        history=points,
        shares=sections.shares(store, route, rollout),
        log_threshold=math.log(summary.threshold) if summary else None,
        log_alarm=math.log(guard.arl) if guard else None,
        retention=gate.retention,
        min_score=gate.min_score,
        margin=gate.margin,
        marks=[
            (row.ts, row.stage_to)
            for row in events
            if rollout and row.student == rollout.student and row.stage_to
            and row.stage_to != row.stage_from
        ],
    )  # fmt: skip


def _basis(
    rollouts: RouteRollouts,
    rollout: Rollout | None,
    summary: EvidenceSummary | None,
    state: EvidenceState | None,
    exam: list[Exam],
) -> Basis:
    numbers = None if state is None else msgspec.json.encode(state)
    return Basis(
        route=rollouts.route,
        student=rollout.student if rollout else None,
        k=rollout.k if rollout else None,
        stage=rollout.stage.value if rollout else None,
        entered=rollout.entered if rollout else None,
        events=rollouts.seq,
        pairs=state.seq if state else 0,
        hashes=rollout.hashes if rollout else Hashes(),
        gate=summary.gate.verdict if summary else None,
        guard=summary.guard.verdict if summary else None,
        evidence=hashlib.sha256(numbers).hexdigest() if numbers else None,
        exam=exam,
    )


def _exclude_outages(evidence: Evidence, checkpoint: Checkpoint | None) -> None:
    """The windows as control knew them: they come from health, so no pair tells them."""
    if checkpoint is not None:
        state = msgspec.json.decode(checkpoint.state, type=EvidenceState)
        for start, end in state.outages.windows:
            evidence.exclude(start, end)


def _rollout(rollouts: RouteRollouts, student: str | None) -> Rollout | None:
    if student is None:
        return rollouts.rollouts[-1] if rollouts.rollouts else None
    found = rollouts.get(student)
    if found is None:
        raise LookupError(f"route {rollouts.route} has no student {student}")
    return found


def _bar(gate: GatePolicy) -> str:
    parts = []
    if gate.retention is not None:
        parts.append(f"at least {gate.retention:g} x the teacher's score")
    if gate.min_score is not None:
        parts.append(f"a score of at least {gate.min_score:g}")
    if gate.margin is not None:
        parts.append(f"at most {gate.margin:g} below the teacher's score")
    return " and ".join(parts) or bar_text(gate)
