"""Reports that somebody may approve: made on demand, kept, named by their hash."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from control.config.values import RouteConfig
from control.report.build import build
from control.report.model import Report
from router.state import Rollout, RouteRollouts
from traces.store import Store


class _Made(msgspec.Struct, frozen=True, kw_only=True):
    #: what the report says depends on this alone, time apart
    basis: tuple[int, int]
    report: Report


class Reports:
    """The newest report of each candidate. ``consumed``: its last consumed pair."""

    def __init__(self, store: Store, *, consumed: Callable[[RouteConfig, Rollout], int]) -> None:
        self._store = store
        self._consumed = consumed
        self._made: dict[tuple[str, str, int], _Made] = {}

    def current(self, route: str, rollout: Rollout) -> str | None:
        """Hash of the report that an approval must name; None: nobody has made one yet."""
        made = self._made.get((route, rollout.student, rollout.k))
        return made.report.sha256 if made else None

    def make(self, route: RouteConfig, state: RouteRollouts, student: str | None) -> Report:
        """The report on a student, or on the newest one. The same as before if nothing is new.

        Raises `LookupError` for a student without a rollout.
        """
        rollout = state.get(student) if student else next(iter(state.rollouts[-1:]), None)
        if rollout is None:
            return build(self._store, route.name, student, route, state, time.time())
        key = (route.name, rollout.student, rollout.k)
        basis = (state.seq, self._consumed(route, rollout))
        made = self._made.get(key)
        if made is None or made.basis != basis:
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
            made = self._made[key] = _Made(basis=basis, report=report)
        return made.report
