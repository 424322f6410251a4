"""Compares the state of every rollout with what the evidence and the world allow, and moves it.

At most one event a student and call. The order of commits is: pairs, event, snapshot; an override
goes only after the snapshot that holds it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from control.collecting import Known
from control.config.values import Config, RouteConfig
from control.errors import FileProblem
from control.facts import FactFinder
from control.feeds import Feeds
from control.leases import inherited, watched
from control.measure import Measure
from control.override import GUARD, QUALITY_ALARM
from control.overrides import Overrides
from control.reports import Reports
from control.rollouts import Rollouts
from control.snapshots import SnapshotWriter
from router.decide import decide
from router.events import Event, Facts, Signal
from router.rollout import Transition
from router.snapshot import Snapshot
from router.stages import ENDED, HeldReason
from router.state import Rollout, weights

_log = logging.getLogger("limbeck.control")
_UNREAD = (
    "{stage}: control has just started and must read first what happened until then: nothing "
    "moves, and no lease is renewed"
)


class Reconciler:
    """Moves rollouts. ``chosen``: route -> students that an exam chose, oldest first."""

    def __init__(
        self,
        config: Config,
        *,
        rollouts: Rollouts,
        feeds: Feeds,
        facts: FactFinder,
        reports: Reports,
        overrides: Overrides,
        writer: SnapshotWriter,
        chosen: Callable[[str], Iterable[str]],
        measures: Mapping[str, Measure],
        started: float,
    ) -> None:
        self._config = config
        self._rollouts = rollouts
        self._feeds = feeds
        self._facts = facts
        self._reports = reports
        self._overrides = overrides
        self._writer = writer
        self._chosen = chosen
        self._measures = measures
        self._started = started
        #: route -> until when its students were guarded, Unix seconds; its leases run from there
        self._watched: dict[str, float] = {}
        #: (route, student) -> why it moved or why it stays, for status
        self.reasons: dict[tuple[str, str], str] = {}
        #: route -> why it could not be looked at the last time; that is logged once
        self._stuck: dict[str, str] = {}
        #: route -> why its override is in force, and not recorded yet
        self.unfolded: dict[str, str] = {}

    def fold_overrides(self, routes: Iterable[RouteConfig] | None = None) -> None:
        """Rollbacks and kills that commands have written: event, snapshot, the file's end.

        ``routes``: only theirs; None: those of all. One that can't be recorded stays in force, and
        holds up no other route. Raises the last error.
        """
        failed: Exception | None = None
        with self._rollouts.lock:
            if self._rollouts.log.problem is not None:
                return
            before = self._rollouts.log.last_seq
            for route in self._config.routes.values() if routes is None else routes:
                try:
                    self._overrides.fold(route)
                except Exception as error:
                    self.unfolded[route.name] = f"route {route.name}: {error}"
                    failed = error
                else:
                    self.unfolded.pop(route.name, None)
            if self._rollouts.log.last_seq != before or self._pending():
                self.publish()
        if failed is not None:
            raise failed

    def begin(self) -> None:
        """Hold every student whose evidence, computed anew, is not what was stored; publish.

        No lease is renewed: those that an earlier control has given run on.
        """
        with self._rollouts.lock:
            newest = self._writer.newest
            for name, route in self._config.routes.items():
                before = None if newest is None else newest.routes.get(name)
                lines = weights(self._rollouts.of(name), route.policy.rollout)
                self._watched[name] = min(inherited(before, lines), time.time())
            self._each(self._check_all)
            self.publish()

    def reconcile(self, known: Known) -> None:
        """Take in the evidence that is ``known``, register what was chosen, decide, publish.

        Where a route's evidence can't be read, or its events can't be written, its leases are not
        renewed, and the teacher takes over when they end; the other routes go on. Raises the last
        error.
        """
        with self._rollouts.lock:
            error = None
            if self._rollouts.log.problem is None:
                error = self._each(lambda route: self._reconcile(route, known))
            self.publish()
        if error is not None:
            raise error

    def _each(self, act: Callable[[RouteConfig], None]) -> Exception | None:
        """Act on every route; returns the last error."""
        failed = None
        for route in self._config.routes.values():
            try:
                act(route)
            except Exception as error:
                if self._stuck.get(route.name) != str(error):
                    _log.error("route %s stays as it is, and its leases end: %s", route.name, error)
                self._stuck[route.name] = str(error)
                failed = error
            else:
                self._stuck.pop(route.name, None)
        return failed

    def _check_all(self, route: RouteConfig) -> None:
        for rollout in self._rollouts.of(route.name).rollouts:
            if rollout.stage not in ENDED:
                self._check_replay(route, rollout)

    def _reconcile(self, route: RouteConfig, known: Known) -> None:
        now = time.time()
        # A clock that was set back lengthens no lease.
        self._watched[route.name] = min(now, self._watched.get(route.name, 0.0))
        self._feeds.read(route, known)
        self._register(route)
        alive = [r for r in self._rollouts.of(route.name).rollouts if r.stage not in ENDED]
        if known.collected_to < self._started:
            # Of what nobody has read yet, health and traffic look like those of a quiet night.
            for rollout in alive:
                self.reasons[(route.name, rollout.student)] = _UNREAD.format(stage=rollout.stage)
            return
        for rollout in alive:
            self._decide(route, rollout.student)
        self._watch(route, alive, known, now)

    def _watch(
        self, route: RouteConfig, alive: Iterable[Rollout], known: Known, now: float
    ) -> None:
        """Move the moment from which leases run, and say why it lags."""
        measure = self._measures.get(route.name)
        seen = watched(
            now=now, collected_to=known.collected_to, faults=measure.faults if measure else ()
        )
        self._watched[route.name] = max(self._watched[route.name], seen.until)
        if seen.blind is not None:
            for rollout in alive:
                self.reasons[(route.name, rollout.student)] += f"; {seen.blind}"

    def publish(self) -> Snapshot:
        """Put the present state in force; write renewed leases if they are due."""
        with self._rollouts.lock:
            now = time.time()
            states = {
                name: msgspec.structs.replace(state, folded_override=self._overrides.folded(name))
                for name, state in self._facts.route_states(self._watched).items()
            }
            renew_s = min(
                (r.policy.rollout.lease_renew_s for r in self._config.routes.values()),
                default=10.0,
            )
            snapshot = self._writer.write(self._config, states, now=now, renew_s=renew_s)
            self._overrides.remove_folded(
                {name: route.folded_override for name, route in snapshot.routes.items()}
            )
            return snapshot

    def facts(self, route: RouteConfig, rollout: Rollout) -> Facts:
        """The world around one student now."""
        report = self._reports.current(route.name, rollout)
        return self._facts.facts(route, rollout, report=report)

    def _pending(self) -> bool:
        """An override is folded, and the snapshot in force does not say so."""
        snapshot = self._writer.current
        return snapshot is not None and any(
            self._overrides.folded(name) != route.folded_override
            for name, route in snapshot.routes.items()
        )

    def _register(self, route: RouteConfig) -> None:
        state = self._rollouts.of(route.name)
        for student in self._chosen(route.name):
            if state.get(student) is not None:
                continue
            hashes = self._facts.hashes(route, student)
            signal = Signal(
                event=Event.STUDENT_REGISTERED,
                student=student,
                ts=time.time(),
                reason="chosen by the exam",
                facts=Facts(hashes=hashes, lost=self._facts.lost(route.name, student)),
            )
            outcome = self._rollouts.signal(route.name, signal, route.policy)
            if isinstance(outcome, Transition):
                _told(outcome)
            elif self.reasons.get((route.name, student)) != outcome.reason:
                self.reasons[(route.name, student)] = outcome.reason
                _log.warning("route %s: %s", route.name, outcome.reason)

    def _decide(self, route: RouteConfig, student: str) -> None:
        state = self._rollouts.of(route.name)
        rollout = state.get(student)
        if rollout is None or self._check_replay(route, rollout):
            return
        now = time.time()
        decision = decide(
            state,
            student,
            evidence=self._feeds.summary(route, rollout, now=now),
            facts=self.facts(route, rollout),
            policy=route.policy,
            now=now,
        )
        self.reasons[(route.name, student)] = decision.reason
        if decision.transition is None:
            return
        if decision.transition.event.event is Event.QUALITY_ALARM:
            try:
                self._send_back(route, rollout, decision.reason, now)
            except FileProblem as error:
                # The override is only faster: the event and its snapshot take the traffic back too.
                _log.error("route %s: %s", route.name, error)
        _told(self._rollouts.take(decision.transition))

    def _send_back(self, route: RouteConfig, rollout: Rollout, reason: str, now: float) -> None:
        """Let an alarm act at once, as a person's rollback would.

        Only where nobody else serves: an override is about the whole route.
        """
        serving = [r for r in self._rollouts.of(route.name).serving if r.weight > 0]
        if [r.student for r in serving] != [rollout.student]:
            return
        override = self._overrides.write(
            route.name,
            QUALITY_ALARM,
            actor=GUARD,
            reason=reason,
            now=now,
            student=rollout.student,
        )
        _log.warning("route %s: %s; override %s", route.name, reason, override.id)

    def _check_replay(self, route: RouteConfig, rollout: Rollout) -> bool:
        """Whether the stored evidence can't be trusted; then the student is held at 0."""
        mismatch = self._feeds.of(route, rollout).mismatch
        if mismatch is None:
            return False
        self.reasons[(route.name, rollout.student)] = f"replay: {mismatch}"
        if HeldReason.REPLAY not in rollout.reasons:
            signal = Signal(
                event=Event.REPLAY_MISMATCH,
                student=rollout.student,
                ts=time.time(),
                reason=mismatch,
                facts=self.facts(route, rollout),
            )
            outcome = self._rollouts.signal(route.name, signal, route.policy)
            if isinstance(outcome, Transition):
                _told(outcome)
        return True


def _told(transition: Transition) -> None:
    event = transition.event
    _log.info(
        "route %s: %s %s -> %s (%s): %s",
        event.route,
        event.student,
        event.stage_from,
        event.stage_to,
        event.event.value,
        event.reason,
    )
