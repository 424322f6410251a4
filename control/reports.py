"""Reports that somebody may approve: made on demand, kept, named by their hash."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import msgspec

from control.config.values import Config, RouteConfig
from control.report.build import build
from control.report.model import Report
from control.rollouts import Rollouts
from router.stages import Stage
from router.state import Rollout, RouteRollouts
from traces.store import Store

_log = logging.getLogger("limbeck.control")


class _Made(msgspec.Struct, frozen=True, kw_only=True):
    #: events of the route and consumed pairs: what the report says depends on these, time apart
    basis: tuple[int, int]
    stage: Stage
    #: when that stage was entered; a report is about one stay there
    entered: float
    report: Report


class Reports:
    """The newest report of each candidate. ``consumed``: its last consumed pair."""

    def __init__(
        self,
        store: Store,
        config: Config,
        rollouts: Rollouts,
        *,
        consumed: Callable[[RouteConfig, Rollout], int],
    ) -> None:
        self._store = store
        self._config = config
        self._rollouts = rollouts
        self._consumed = consumed
        self._made: dict[tuple[str, str, int], _Made] = {}
        # Invariant: one basis has one report. Taken before the lock of the rollouts, never inside.
        self._making = threading.Lock()

    def current(self, route: str, rollout: Rollout) -> str | None:
        """Hash of the report that an approval must name; None: nobody has made one yet."""
        made = self._made.get((route, rollout.student, rollout.k))
        if made is None or (made.stage, made.entered) != (rollout.stage, rollout.entered):
            return None
        return made.report.sha256

    def make(self, route: RouteConfig, student: str | None) -> Report:
        """The report on a student, or on the newest one. The same as before if nothing is new.

        May take seconds, so call it without the lock of the rollouts. Raises `LookupError` for a
        student without a rollout.
        """
        with self._making:
            with self._rollouts.lock:
                state = self._rollouts.of(route.name)
                rollout = state.get(student) if student else next(iter(state.rollouts[-1:]), None)
                consumed = 0 if rollout is None else self._consumed(route, rollout)
            if rollout is None:
                return build(self._store, route.name, student, route, state, time.time())
            key = (route.name, rollout.student, rollout.k)
            basis = (state.seq, consumed)
            made = self._made.get(key)
            if made is None or made.basis != basis:
                report = self._build(route, state, rollout)
                made = self._made[key] = _Made(
                    basis=basis, stage=rollout.stage, entered=rollout.entered, report=report
                )
            return made.report

    def make_missing(self) -> None:
        """What people are asked to approve: a report on every student that waits for it."""
        for route in self._config.routes.values():
            for rollout in self._rollouts.of(route.name).rollouts:
                if rollout.stage is Stage.READY and self.current(route.name, rollout) is None:
                    self._make_missing(route, rollout.student)

    def _make_missing(self, route: RouteConfig, student: str) -> None:
        try:
            self.make(route, student)
        except Exception:
            # Without a report nothing is exposed; the other routes' reports must be made.
            _log.exception("route %s: no report on %s could be made", route.name, student)

    def _build(self, route: RouteConfig, state: RouteRollouts, rollout: Rollout) -> Report:
        # What is approved is approved under the configuration in force, so the report names it.
        hashes = msgspec.structs.replace(rollout.hashes, config=self._config.hash)
        state = state.put(msgspec.structs.replace(rollout, hashes=hashes))
        now = time.time()
        report = build(self._store, route.name, rollout.student, route, state, now)
        self._store.run(
            "save_report",
            report=report.sha256,
            now=now,
            route=route.name,
            student=rollout.student,
            body=report.json.decode(),
        )
        return report
