"""What control answers, as values: a student, its route, a status, a report."""

from __future__ import annotations

import msgspec

from control.report.model import Basis, Named, ReportBody
from control.status import (
    CollectorStatus,
    RollbackStatus,
    RouteStatus,
    ShadowStatus,
    Status,
    StudentStatus,
    TickStatus,
    WorkerStatus,
)
from router.events import Hashes
from router.stages import Stage

#: what a terminal or a page may not obey
ESCAPE = "\x1b[31m[bold]evil[/bold]"


def a_student() -> StudentStatus:
    return StudentStatus(
        student="s1-00ff", trainer="classifier", k=1, stage=Stage.R5, step=Stage.R5, weight=0.05,
        held_for=(), entered=900.0, why="R5 needs 400 more requests", evidence=None, pairs=(),
        health=None, report=None,
    )  # fmt: skip


def a_route(**changes: object) -> RouteStatus:
    route = RouteStatus(
        route="triage", teacher="openai/gpt-5", program=None, program_version="", metric="m:f",
        metric_hash="", killed=False, traces=12, student_served=3, fallbacks=1, failed=0,
        labelled=10, cost_usd=0.5, cost_unknown=2, teacher_p95_ms=None, scored=9, passing=8,
        not_scored=1, mean_score=0.9, usable_rows=8, after_rows=None, distil_waits=None,
        distillation=None, happenings=(), students=(a_student(),),
        shadow=ShadowStatus(
            paused=None, no_reverse=None, spent_usd=0, spent_unknown=0, daily_budget_usd=5
        ),
        last_rollback=RollbackStatus(
            ts=990.0, event="rollback", student="s0-aaaa", actor="ana", reason=ESCAPE, seconds=0.2,
            missing=("w2",),
        ),
    )  # fmt: skip
    return msgspec.structs.replace(route, **changes)


def a_status(*routes: RouteStatus) -> Status:
    worker = WorkerStatus(worker="w1", epoch=1, version=4, overrides=(), breakers=())
    return Status(
        now=1_000.0, started=400.0, code_version="0.1.0", config_hash="abc", snapshot_epoch=1,
        snapshot_version=4, routes=routes, workers=(worker,), collector=CollectorStatus(traces=12),
        ticks=(TickStatus(name="shadow", runs=3, failures=1, last_error="boom", last_s=0.1),),
        problems=("the disk is nearly full",),
    )  # fmt: skip


def a_report() -> ReportBody:
    return ReportBody(
        basis=Basis(
            route="triage", student="s1-00ff", k=1, stage="READY", entered=1.0, events=2, pairs=200,
            hashes=Hashes(), gate="promote", guard="clear", evidence="0" * 64, exam=[],
        ),
        limbeck="0.1.0", made="now", route="triage", student="s1-00ff", k=1, stage="READY",
        headline="It may serve.", tone="good", bar="retention 0.95",
        tiles=[Named(name="teacher", value="0.93", note="0.90 to 0.95")],
        numbers=[Named(name="pairs", value="70")], outcomes=[], traffic=[], money=[],
        exam=[], funnel=[], disagreements=[], events=[], caveats=["no reverse shadow"],
        commands=[], lineage=[], history=[], shares=[], log_threshold=None, log_alarm=None,
        retention=0.95, marks=[],
    )  # fmt: skip
