"""What people order through the admin API, and what they look at."""

from __future__ import annotations

import logging
import time
from uuid import UUID

import msgspec

from control.config.values import Config, RouteConfig
from control.distilling import Distilling, Trainer
from control.errors import BadInput, Refused, UnknownRoute
from control.feeds import Feeds
from control.override import KILL, NOT_PEOPLE, ROLLBACK
from control.overrides import Overrides
from control.reconcile import Reconciler
from control.report.model import Report
from control.reports import Reports
from control.rollouts import Rollouts
from control.status import (
    DistillationAsked,
    JobStatus,
    Ordered,
    RollbackStatus,
    Status,
    TraceStatus,
)
from control.status_view import StatusView
from router.events import Event, Signal
from router.rollout import Refusal, Transition, targets
from router.snapshot import Override
from router.stages import EXPOSED, RAMP, HeldReason, Stage
from router.state import Rollout, RouteRollouts
from router.view import short_hash
from traces.store import Store

_log = logging.getLogger("limbeck.control")
#: how long a rollback waits for the workers before it answers
_ACKNOWLEDGED_WITHIN_S = 5.0
_POLL_S = 0.005
_EVENTS = {
    "pause": Event.PAUSE,
    "resume": Event.RESUME,
    "retry": Event.RETRY,
    "extend": Event.EXTEND,
    "reject": Event.REJECT,
}
#: where a person's approval moves something
_APPROVABLE = (Stage.READY, *RAMP)
#: the stages in which an order makes sense, for choosing the student that it means
_MEANT = {
    "pause": EXPOSED,
    "resume": (Stage.HELD,),
    "retry": (Stage.ROLLED_BACK,),
    "extend": (Stage.INCONCLUSIVE, Stage.HELD),
    "reject": (Stage.INCONCLUSIVE,),
}


class StaleReport(Refused):
    """The approval names another report than the current one."""


class Operations:
    """Thread-safe; every method may take seconds."""

    def __init__(
        self,
        config: Config,
        store: Store,
        *,
        rollouts: Rollouts,
        feeds: Feeds,
        reconciler: Reconciler,
        reports: Reports,
        overrides: Overrides,
        distilling: Distilling,
        view: StatusView,
    ) -> None:
        self._config = config
        self._store = store
        self._rollouts = rollouts
        self._feeds = feeds
        self._reconciler = reconciler
        self._reports = reports
        self._overrides = overrides
        self._distilling = distilling
        self._view = view

    def status(self) -> Status:
        """Everything at a glance."""
        return self._view.status()

    def jobs(self, route: str | None) -> list[JobStatus]:
        """The newest fine-tuning jobs."""
        if route is not None:
            self._route(route)
        return self._view.jobs(route)

    def traces(
        self, *, route: str | None, served_by: str | None, trace_id: str | None, limit: int
    ) -> list[TraceStatus]:
        """The newest requests, newest first."""
        if trace_id is not None:
            trace_id = _trace_id(trace_id)
        return self._view.traces(route=route, served_by=served_by, trace_id=trace_id, at_most=limit)

    def report(self, route: str, student: str | None) -> Report:
        """The report on a student, or on the newest one; the one that an approval must name."""
        config = self._route(route)
        try:
            return self._reports.make(config, student)
        except LookupError as error:
            raise BadInput(str(error)) from error

    def approve(self, route: str, *, report: str, actor: str, reason: str) -> Ordered:
        """Consent to one report. Raises `StaleReport` for another one than the current."""
        config = self._route(route)
        _check_person(actor)
        self._trust_log()
        with self._rollouts.lock:
            state = self._rollouts.of(route)
            current = {r.student: self._reports.current(route, r) for r in state.rollouts}
            named = next(((s, sha) for s, sha in current.items() if _names(report, sha)), None)
            if named is None:
                again = next((r for r in state.rollouts if _names(report, r.report)), None)
                if again is not None:
                    return _ordered(route, "approve", again, changed=False, reason=again.why)
                raise StaleReport(_why_stale(report, state, current))
            student, sha = named
            return self._signal(
                config, "approve", Event.APPROVE, student, actor, reason, report=sha
            )

    def distil(self, route: str, *, trainer: Trainer | None) -> DistillationAsked:
        """Start a distillation, or find the one that runs."""
        config = self._route(route)
        problem = self._distilling.why_impossible(config)
        if problem is not None:
            raise Refused(f"{route}: {problem}")
        running = self._distilling.running(route)
        if running is not None:
            return DistillationAsked(route=route, distillation_id=running, changed=False)
        started = self._distilling.request(route, now=time.time(), trainer=trainer)
        return DistillationAsked(route=route, distillation_id=started, changed=True)

    def order(
        self, route: str, order: str, *, actor: str, reason: str, student: str | None
    ) -> Ordered:
        """Rollback, kill, unkill, pause, resume, retry, extend, reject."""
        config = self._route(route)
        _check_person(actor)
        if order in (ROLLBACK, KILL):
            return self._override(config, order, actor, reason)
        self._trust_log()
        with self._rollouts.lock:
            if order == "unkill":
                return self._unkill(config, actor, reason)
            meant = student or self._meant(route, order)
            was = self._rollouts.of(route).get(meant)
            done = self._signal(config, order, _EVENTS[order], meant, actor, reason)
            if order == "resume" and was and HeldReason.REPLAY in was.reasons and done.changed:
                self._feeds.of(config, was).accept()
            return done

    def _override(self, config: RouteConfig, order: str, actor: str, reason: str) -> Ordered:
        """The override first: it acts whatever else control is doing.

        Once it is written, it is in force: what goes wrong afterwards is told beside it.
        """
        route = config.name
        before = self._rollouts.of(route)
        override = self._overrides.write(route, order, actor=actor, reason=reason, now=time.time())
        problem = self._record(config)
        timed = self._wait(override)
        after = self._rollouts.of(route)
        serving = [r for r in before.serving if r.weight > 0]
        moved = msgspec.structs.replace(before, seq=0) != msgspec.structs.replace(after, seq=0)
        return Ordered(
            route=route,
            order=order,
            student=", ".join(r.student for r in serving),
            changed=moved or (problem is not None and bool(serving)),
            stage=None,
            weight=0.0,
            reason=reason,
            rollback=timed,
            problem=problem,
        )

    def _record(self, config: RouteConfig) -> str | None:
        """Fold the route's override; returns what kept that from being done."""
        try:
            self._reconciler.fold_overrides((config,))
        except Exception as error:
            _log.exception("route %s: its override is in force, and not recorded", config.name)
            return f"{type(error).__name__}: {error}"
        return self._rollouts.log.problem

    def _wait(self, override: Override) -> RollbackStatus:
        """Until the acknowledgements are in, or the time is up."""
        deadline = time.monotonic() + _ACKNOWLEDGED_WITHIN_S
        while True:
            timed = self._overrides.timed(override)
            if timed.done or time.monotonic() > deadline:
                return timed
            time.sleep(_POLL_S)

    def _unkill(self, config: RouteConfig, actor: str, reason: str) -> Ordered:
        route, changed, refused = config.name, False, []
        for student in targets(self._rollouts.of(route), Event.UNKILL):
            outcome = self._ask(config, Event.UNKILL, student, actor, reason)
            if isinstance(outcome, Refusal):
                refused.append(outcome.reason)
            else:
                changed |= outcome.changed
        if refused and not changed:
            raise Refused(f"unkill {route}: {'; '.join(refused)}")
        self._reconciler.publish()
        return Ordered(
            route=route, order="unkill", student="", changed=changed, stage=None, weight=0.0,
            reason=reason,
        )  # fmt: skip

    def _meant(self, route: str, order: str) -> str:
        """Whom an order without a name is for: the newest student that it makes sense for."""
        rollouts = self._rollouts.of(route).rollouts
        if not rollouts:
            raise Refused(f"{order} {route}: it has no student yet; `limbeck status` says why")
        fitting = [r for r in rollouts if r.stage in _MEANT[order]]
        return (fitting or list(rollouts))[-1].student

    def _signal(
        self,
        config: RouteConfig,
        order: str,
        event: Event,
        student: str,
        actor: str,
        reason: str,
        *,
        report: str | None = None,
    ) -> Ordered:
        outcome = self._ask(config, event, student, actor, reason, report=report)
        if isinstance(outcome, Refusal):
            raise Refused(f"{order} {config.name}: {outcome.reason}")
        self._reconciler.publish()
        assert outcome.after is not None, "the table moved a student that it does not know"
        return _ordered(config.name, order, outcome.after, changed=outcome.changed, reason=reason)

    def _ask(
        self,
        config: RouteConfig,
        event: Event,
        student: str,
        actor: str,
        reason: str,
        *,
        report: str | None = None,
    ) -> Transition | Refusal:
        now = time.time()
        rollout = self._rollouts.of(config.name).get(student) if student else None
        signal = Signal(event=event, student=student, ts=now, actor=actor, reason=reason)
        if rollout is not None:
            signal = msgspec.structs.replace(
                signal,
                report=report,
                evidence=self._feeds.summary(config, rollout, now=now),
                facts=self._reconciler.facts(config, rollout),
            )
        return self._rollouts.signal(config.name, signal, config.policy)

    def _trust_log(self) -> None:
        problem = self._rollouts.log.problem
        if problem is not None:
            raise Refused(problem)

    def _route(self, name: str) -> RouteConfig:
        route = self._config.routes.get(name)
        if route is None:
            known = ", ".join(sorted(self._config.routes)) or "none"
            raise UnknownRoute(f'unknown route "{name}"; the routes are: {known}')
        return route


def _check_person(actor: str) -> None:
    if actor in NOT_PEOPLE:
        raise BadInput(f'actor "{actor}" is limbeck itself: give the name of a person')


def _ordered(route: str, order: str, rollout: Rollout, *, changed: bool, reason: str) -> Ordered:
    return Ordered(
        route=route,
        order=order,
        student=rollout.student,
        changed=changed,
        stage=rollout.stage,
        weight=rollout.weight,
        reason=reason,
    )


def _trace_id(said: str) -> str:
    try:
        return str(UUID(said))
    except ValueError:
        raise BadInput(
            f'"{said}" is no id of a request: those are UUIDs; `limbeck traces --json` lists them,'
            " and each answer has its own in the header x-limbeck-inference-id"
        ) from None


def _names(given: str, report: str | None) -> bool:
    """Whether a person means this report: by its whole hash, or as much of it as is shown."""
    return report is not None and given.startswith(short_hash(report)) and report.startswith(given)


def _why_stale(given: str, state: RouteRollouts, current: dict[str, str | None]) -> str:
    if not any(rollout.stage in _APPROVABLE for rollout in state.rollouts):
        return f"no student of {state.route} waits for an approval: `limbeck status` says why"
    known = [f"{student}: {short_hash(report)}" for student, report in current.items() if report]
    return (
        f"report {given} is not the current report of {state.route}"
        f" ({', '.join(known) or 'there is none yet'}): read `limbeck report {state.route}` and "
        "approve that one"
    )
