"""Reports that somebody may approve: made on demand, kept, named by the hash of their evidence.

What was made is in the store, so a restart of control makes no other report the current one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import msgspec

from control.config.values import Config, RouteConfig
from control.report.build import build, drawn
from control.report.model import Report, ReportBody
from control.rollouts import Rollouts
from router.stages import Stage
from router.state import Rollout, RouteRollouts
from traces.store import Store

_log = logging.getLogger("limbeck.control")


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    #: `ReportBody` as JSON
    body: str


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
        #: (route, student) -> its newest report; None: the store has none
        self._newest: dict[tuple[str, str], Report | None] = {}
        # Invariant: one basis has one report. Taken before the lock of the rollouts, never inside.
        self._making = threading.Lock()

    def current(self, route: str, rollout: Rollout) -> str | None:
        """Hash of the report that an approval must name; None: nobody has made one yet."""
        report = self._current(route, rollout)
        return None if report is None else report.sha256

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
            report = self._current(route.name, rollout)
            # What the report says depends on the events and the pairs, time apart.
            if report is None or (report.basis.events, report.basis.pairs) != (state.seq, consumed):
                report = self._build(route, state, rollout)
                self._newest[route.name, rollout.student] = report
            return report

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

    def _current(self, route: str, rollout: Rollout) -> Report | None:
        """The newest report, if it is about this stay in the stage and this configuration."""
        key = (route, rollout.student)
        if key not in self._newest:
            # One that is made meanwhile is newer.
            self._newest.setdefault(key, self._stored(*key))
        report = self._newest[key]
        if report is None:
            return None
        basis = report.basis
        about = (basis.k, basis.stage, basis.entered, basis.hashes.config)
        now = (rollout.k, rollout.stage.value, rollout.entered, self._config.hash)
        return report if about == now else None

    def _stored(self, route: str, student: str) -> Report | None:
        """The newest report of an earlier control."""
        stored = self._store.one("newest_report", _Stored, route=route, student=student)
        if stored is None:
            return None
        try:
            return drawn(msgspec.json.decode(stored.body, type=ReportBody))
        except msgspec.MsgspecError:
            return None  # of another version of limbeck

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
