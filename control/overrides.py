"""Folds rollback and kill: override file first, then the event, the snapshot, the file's end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from control.config.values import RouteConfig
from control.files import write_atomically
from control.health import acknowledgements
from control.layout import Layout
from control.override import (
    GUARD,
    KILL,
    ROLLBACK,
    live_workers,
    load_override,
    remove_override,
    write_override,
)
from control.rollouts import Rollouts
from control.status import RollbackStatus
from router.events import Event, Facts, Signal
from router.rollout import Refusal, targets
from router.snapshot import Override
from router.state import Rollout
from router.verdicts import EvidenceSummary

_log = logging.getLogger("limbeck.control")
_WAIT_S = 5.0
_POLL_S = 0.005
_EVENTS = {ROLLBACK: Event.ROLLBACK, KILL: Event.KILL}


class Overrides:
    """All routes' overrides.

    `fold` and `remove_folded` are called under the lock of the rollouts; nothing else waits.
    ``evidence``: all numbers about a candidate now.
    """

    def __init__(
        self,
        layout: Layout,
        rollouts: Rollouts,
        *,
        evidence: Callable[[RouteConfig, Rollout], EvidenceSummary],
    ) -> None:
        self._layout = layout
        self._rollouts = rollouts
        self._evidence = evidence
        #: route -> the last override whose event is logged
        self._folded: dict[str, Override] = {}
        #: those whose file is to go once the snapshot has them
        self._to_remove: dict[str, Override] = {}
        #: override -> its acknowledgements
        self._timed: dict[str, RollbackStatus] = {}
        self._last: dict[str, RollbackStatus] = {}

    def write(
        self,
        route: str,
        action: str,
        *,
        actor: str,
        reason: str,
        now: float,
        student: str | None = None,
    ) -> Override:
        """Put an override in force at once, whatever else control is doing."""
        override, _ = write_override(
            self._layout.overrides,
            route=route,
            action=action,
            actor=actor,
            reason=reason,
            now=now,
            student=student,
        )
        self._time(override)
        return override

    def fold(self, route: RouteConfig) -> None:
        """Log the event of an override that has none yet.

        Raises `FileProblem` for a file that says nothing that could be logged.
        """
        override = load_override(self._layout.overrides, route.name)
        if override is None:
            return
        self._time(override)
        if override.student is not None:
            self._log_alarm(route, override, override.student)
        elif not self._is_logged(override):
            self._log_event(route, override)
        self._folded[route.name] = self._to_remove[route.name] = override

    def folded(self, route: str) -> str | None:
        """Id of the last override that the rollouts hold."""
        override = self._folded.get(route)
        return override.id if override else None

    def remove_folded(self, in_force: Mapping[str, str | None]) -> None:
        """Remove what the snapshot holds. ``in_force``: route -> the override folded into it."""
        for route, override in list(self._to_remove.items()):
            if in_force.get(route) == override.id:
                remove_override(self._layout.overrides, override)
                # Never again: a file that comes later is a newer order.
                del self._to_remove[route]

    def timed(self, override: Override) -> RollbackStatus:
        """How far the acknowledgements of an override are."""
        return self._timed[override.id]

    def last(self, route: str) -> RollbackStatus | None:
        """The last time that a student's traffic went back to the teacher at once."""
        known = self._last.get(route)
        if known is None:
            try:
                known = msgspec.json.decode(self._path(route).read_bytes(), type=RollbackStatus)
            except (OSError, msgspec.MsgspecError):
                return None
            self._last[route] = known
        return known

    def _is_logged(self, override: Override) -> bool:
        """Every student that the override concerns has its event."""
        order = _EVENTS[override.action]
        events = self._rollouts.events(override.route)
        if not any(
            e.event is order and e.actor == override.actor and e.ts >= override.time for e in events
        ):
            return False
        # A crash may have come between the events of two students.
        return targets(self._rollouts.of(override.route), order) == ("",)

    def _log_event(self, route: RouteConfig, override: Override) -> None:
        event = _EVENTS[override.action]
        for student in targets(self._rollouts.of(route.name), event):
            signal = Signal(
                event=event,
                student=student,
                ts=time.time(),
                actor=override.actor,
                reason=override.reason,
                facts=Facts(),
            )
            outcome = self._rollouts.signal(route.name, signal, route.policy)
            if isinstance(outcome, Refusal):
                _log.warning("%s of %s: %s", event.value, student or route.name, outcome.reason)

    def _log_alarm(self, route: RouteConfig, override: Override, student: str) -> None:
        """End one student, unless the tick that raised the alarm has done so."""
        state = self._rollouts.of(route.name)
        rollout = state.get(student)
        if rollout is None or student not in targets(state, Event.ROLLBACK):
            return
        if any(
            e.event is Event.QUALITY_ALARM and e.student == student and e.ts >= override.time
            for e in self._rollouts.events(route.name)
        ):
            return
        signal = Signal(
            event=Event.QUALITY_ALARM,
            student=student,
            ts=time.time(),
            reason=override.reason,
            evidence=self._evidence(route, rollout),
        )
        outcome = self._rollouts.signal(route.name, signal, route.policy)
        if isinstance(outcome, Refusal):
            # It was raised and obeyed, whatever a policy that has changed since makes of it.
            _log.warning("quality alarm of %s: %s; rolled back", student, outcome.reason)
            signal = msgspec.structs.replace(signal, event=Event.ROLLBACK, actor=GUARD)
            self._rollouts.signal(route.name, signal, route.policy)

    def _time(self, override: Override) -> None:
        """Measure, in the background, when the last worker obeyed."""
        if override.id in self._timed:
            return
        self._keep(override, _status(self._rollouts, override))
        threading.Thread(target=self._measure, args=(override,), daemon=True).start()

    def _keep(self, override: Override, status: RollbackStatus) -> None:
        self._timed[override.id] = status
        # A drill with nothing serving does not hide the last real one.
        if status.student or self.last(override.route) is None:
            self._last[override.route] = status

    def _measure(self, override: Override) -> None:
        deadline = time.monotonic() + _WAIT_S
        while True:
            live = {worker for worker, _ in live_workers(self._layout.acknowledgements)}
            said = acknowledgements(self._layout.acknowledgements)
            obeying = {w: ack for w, ack in said.items() if override.id in ack.overrides}
            missing = live - obeying.keys()
            if not missing or time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)
        # By the workers' own clocks: the override may be older than this control.
        seconds = max((ack.time - override.time for ack in obeying.values()), default=None)
        measured = msgspec.structs.replace(
            self._timed[override.id],
            seconds=None if missing else seconds,
            workers=tuple(sorted(obeying)),
            missing=tuple(sorted(missing)),
            done=True,
        )
        self._keep(override, measured)
        try:
            last = msgspec.json.encode(self._last[override.route])
            write_atomically(self._path(override.route), last)
        except OSError as error:
            _log.warning("%s: %s", self._path(override.route), error)

    def _path(self, route: str) -> Path:
        return self._layout.events.parent / f"{route}.rollback.json"


def _status(rollouts: Rollouts, override: Override) -> RollbackStatus:
    exposed = [r.student for r in rollouts.of(override.route).rollouts if r.weight > 0]
    return RollbackStatus(
        ts=override.time,
        event=override.action,
        student=override.student or ", ".join(exposed),
        actor=override.actor,
        reason=override.reason,
    )
