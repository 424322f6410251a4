"""Puts the status together: reads, and decides nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from control.budget import spent_today
from control.candidates import CandidateKey
from control.config.values import Config, RouteConfig
from control.distilling import Distilling
from control.facts import FactFinder
from control.feeds import Feeds
from control.health import acknowledgements
from control.measure import Measure
from control.overrides import Overrides
from control.program_versions import ProgramVersions
from control.reconcile import Reconciler
from control.reports import Reports
from control.rollouts import Rollouts
from control.score_counts import score_counts
from control.shadow import Shadow
from control.status import (
    CollectorStatus,
    DistillationStatus,
    HappeningStatus,
    JobStatus,
    PairCount,
    RouteStatus,
    ShadowStatus,
    Status,
    StudentStatus,
    TickStatus,
    TraceStatus,
    WorkerStatus,
)
from distiller import distillations, jobs
from distiller.jobs import Job
from router.snapshot import Snapshot
from router.stages import ENDED
from router.state import Rollout
from traces.store import Store


class _Counts(msgspec.Struct, frozen=True, kw_only=True):
    route: str
    traces: int = 0
    student_served: int = 0
    fallbacks: int = 0
    failed: int = 0
    cost_usd: float = 0.0
    cost_unknown: int = 0


class _Labelled(msgspec.Struct, frozen=True, kw_only=True):
    route: str
    labelled: int = 0
    by_student: int = 0


class StatusView:
    """Reads what the other parts know."""

    def __init__(
        self,
        config: Config,
        store: Store,
        *,
        rollouts: Rollouts,
        feeds: Feeds,
        facts: FactFinder,
        reconciler: Reconciler,
        reports: Reports,
        overrides: Overrides,
        shadow: Shadow,
        distilling: Distilling,
        programs: ProgramVersions,
        measures: Mapping[str, Measure],
        acknowledgements: Path,
        collector: Callable[[], CollectorStatus],
        ticks: Callable[[], tuple[TickStatus, ...]],
        snapshot: Callable[[], Snapshot],
        problems: Callable[[], tuple[str, ...]],
        code_version: str,
        started: float,
    ) -> None:
        self._config = config
        self._store = store
        self._rollouts = rollouts
        self._feeds = feeds
        self._facts = facts
        self._reconciler = reconciler
        self._reports = reports
        self._overrides = overrides
        self._shadow = shadow
        self._distilling = distilling
        self._programs = programs
        self._measures = measures
        self._acknowledgements = acknowledgements
        self._collector = collector
        self._ticks = ticks
        self._snapshot = snapshot
        self._problems = problems
        self._code_version = code_version
        self._started = started

    def status(self) -> Status:
        """Everything at a glance."""
        now = time.time()
        counts = {row.route: row for row in self._store.all("route_counts", _Counts)}
        labels = {row.route: row for row in self._store.all("route_labels", _Labelled)}
        snapshot = self._snapshot()
        routes = tuple(
            self._route(
                route,
                counts.get(name, _Counts(route=name)),
                labels.get(name, _Labelled(route=name)),
                now,
            )
            for name, route in self._config.routes.items()
        )
        return Status(
            now=now,
            started=self._started,
            code_version=self._code_version,
            config_hash=self._config.hash,
            snapshot_epoch=snapshot.epoch,
            snapshot_version=snapshot.version,
            routes=routes,
            workers=self._workers(),
            collector=self._collector(),
            ticks=self._ticks(),
            problems=self._problems(),
        )

    def jobs(self, route: str | None) -> list[JobStatus]:
        """The newest fine-tuning jobs."""
        return [_job(job) for job in jobs.recent_jobs(self._store, route)]

    def traces(
        self, *, route: str | None, served_by: str | None, trace_id: str | None, at_most: int
    ) -> list[TraceStatus]:
        """The newest requests, newest first."""
        return self._store.all(
            "recent_traces",
            TraceStatus,
            route=route,
            served_by=served_by,
            trace_id=trace_id,
            at_most=at_most,
        )

    def _route(
        self, route: RouteConfig, counts: _Counts, labels: _Labelled, now: float
    ) -> RouteStatus:
        name = route.name
        measure = self._measures.get(name)
        metric_hash = measure.metric_hash if measure else ""
        scores = score_counts(self._store, route, metric_hash)
        state = self._rollouts.of(name)
        return RouteStatus(
            route=name,
            teacher=f"{route.lm.upstream}/{route.lm.model}",
            program=route.program,
            program_version=self._programs.version(name),
            metric=str(route.metric) if route.metric else None,
            metric_hash=metric_hash,
            killed=state.killed,
            traces=counts.traces,
            student_served=counts.student_served,
            fallbacks=counts.fallbacks,
            failed=counts.failed,
            labelled=labels.labelled,
            labelled_student=labels.by_student,
            cost_usd=counts.cost_usd,
            cost_unknown=counts.cost_unknown,
            teacher_p95_ms=self._facts.teacher_p95_ms(name),
            scored=scores.scored,
            passing=scores.passing,
            not_scored=scores.not_scored,
            why_not_scored=scores.why_not,
            why_not_scored_n=scores.why_not_n,
            mean_score=scores.mean,
            usable_rows=self._distilling.usable_rows(route, before=now),
            after_rows=route.distill.after_rows,
            distil_waits=self._distilling.why_not(route, now=now),
            distillation=self._distillation(name),
            happenings=tuple(
                HappeningStatus(
                    ts=told.ts,
                    event=told.happening.event.value,
                    message=told.happening.message,
                    about=told.happening.about,
                    progress=told.happening.progress,
                )
                for told in self._distilling.happenings(name)
            ),
            shadow=self._shadow_status(route, now),
            students=self._students_of(route, now),
            last_rollback=self._overrides.last(name),
        )

    def _students_of(self, route: RouteConfig, now: float) -> tuple[StudentStatus, ...]:
        # The tick that takes in evidence and health changes them in place.
        with self._rollouts.lock:
            rollouts = reversed(self._rollouts.of(route.name).rollouts)
            return tuple(self._student(route, rollout, now) for rollout in rollouts)

    def _student(self, route: RouteConfig, rollout: Rollout, now: float) -> StudentStatus:
        made = self._facts.student(route.name, rollout.student)
        key = CandidateKey(route=route.name, student=rollout.student, k=rollout.k)
        over = rollout.stage in ENDED
        reason = self._reconciler.reasons.get((route.name, rollout.student))
        return StudentStatus(
            student=rollout.student,
            trainer=made.trainer if made else None,
            k=rollout.k,
            stage=rollout.stage,
            step=rollout.step,
            weight=rollout.weight,
            held_for=rollout.reasons,
            entered=rollout.entered,
            why=rollout.why if over or reason is None else reason,
            evidence=self._feeds.summary(route, rollout, now=now),
            pairs=tuple(self._store.all("pair_outcomes", PairCount, **key.params)),
            health=None if over else self._reconciler.facts(route, rollout).health,
            report=self._reports.current(route.name, rollout),
        )

    def _distillation(self, route: str) -> DistillationStatus | None:
        last = next(iter(distillations.recent(self._store, route, at_most=1)), None)
        if last is None:
            return None
        return DistillationStatus(
            distillation_id=last.distillation_id,
            stage=last.stage.value,
            started=last.ts,
            since=last.since,
            chosen=last.chosen,
            reason=last.reason,
            jobs=tuple(_job(job) for job in jobs.jobs_of(self._store, last.distillation_id)),
        )

    def _shadow_status(self, route: RouteConfig, now: float) -> ShadowStatus:
        spent = spent_today(self._store, route.name, now=now)
        no_reverse = None
        if self._facts.teacher_price(route) is None:
            no_reverse = (
                f"the price of {route.lm.upstream}/{route.lm.model} is not known, so the daily "
                f"budget could not bound it: set [upstreams.{route.lm.upstream}] prices"
            )
        return ShadowStatus(
            paused=self._shadow.paused.get(route.name),
            no_reverse=no_reverse,
            spent_usd=spent.usd,
            spent_unknown=spent.unknown,
            daily_budget_usd=route.policy.shadow.daily_budget_usd,
        )

    def _workers(self) -> tuple[WorkerStatus, ...]:
        return tuple(
            WorkerStatus(
                worker=worker,
                epoch=said.epoch,
                version=said.version,
                overrides=said.overrides,
                breakers=tuple(sorted(said.breakers)),
            )
            for worker, said in sorted(acknowledgements(self._acknowledgements).items())
        )


def _job(job: Job) -> JobStatus:
    return JobStatus(
        job_id=job.job_id,
        route=job.route,
        predictor=job.predictor,
        dataset_id=job.dataset_id,
        distillation_id=job.distillation_id,
        trainer=job.trainer,
        status=job.status,
        progress=job.progress,
        error=job.error,
        started=job.ts,
    )
