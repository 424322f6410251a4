"""Gathers everything that a report says about one route."""

from __future__ import annotations

import math
from importlib.metadata import version

from control.config.values import RouteConfig
from control.evidence_feed import consumed
from control.report import sections, verdict, words
from control.report.history import history
from control.report.model import (
    ReportBody,
)
from control.report.stored import (
    EventRow,
)
from router.evidence import Evidence
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
    points = []
    if rollout is not None:
        evidence = Evidence(config.policy, k=rollout.k, marks=rollout.marks)
        points = history(evidence, consumed(store, sections.key(route, rollout)))
        summary = evidence.summary(now)
    events = store.all("report_events", EventRow, route=route)
    traffic = sections.traffic(store, route, rollout)
    return ReportBody(
        limbeck=version("limbeck"),
        made=words.moment(now),
        route=route,
        student=rollout.student if rollout else None,
        k=rollout.k if rollout else None,
        stage=rollout.stage.value if rollout else None,
        headline=verdict.headline(rollout, summary),
        tone=verdict.tone(rollout),
        bar=_bar(gate),
        tiles=verdict.tiles(summary),
        numbers=verdict.numbers(summary) if summary else [],
        outcomes=sections.outcomes(store, route, rollout),
        traffic=[sections.served(row) for row in traffic],
        money=sections.money(store, route, traffic, config),
        exam=sections.exam(store, route, rollout),
        funnel=sections.funnel(sections.student(store, route, rollout)),
        disagreements=sections.disagreements(store, route, rollout),
        events=[sections.happened(row) for row in events],
        caveats=verdict.caveats(summary, unknown_prices=any(r.n_cost < r.n for r in traffic)),
        commands=[
            f"limbeck report {route}",
            f"limbeck approve {route} REPORT",
            f'limbeck rollback {route} --reason "..."',
        ],
        lineage=sections.lineage(sections.student(store, route, rollout), rollout),
        history=points,
        shares=sections.shares(store, route),
        log_threshold=math.log(summary.threshold) if summary else None,
        log_alarm=math.log(summary.guards[0].arl) if summary and summary.guards else None,
        retention=gate.retention,
        marks=[
            (row.ts, row.stage_to)
            for row in events
            if rollout and row.student == rollout.student and row.stage_to
            and row.stage_to != row.stage_from
        ],
    )  # fmt: skip


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
