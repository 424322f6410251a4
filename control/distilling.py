"""Starts distillations (after enough rows, by schedule, by hand) and brings them along."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from control.config.values import Config, RouteConfig
from control.counting import plural
from control.measure import Measure
from control.program_versions import ProgramVersions
from control.score_counts import score_counts
from distiller import distil, distillations
from distiller.dataset.rows import ProgramSource
from distiller.dataset.values import DatasetSpec
from distiller.distillations import Distillation, DistilSettings
from distiller.happenings import Clients, Happening
from router.stages import Stage
from router.state import RouteRollouts
from router.view import duration
from traces.store import Store

_log = logging.getLogger("limbeck.control")
#: happenings kept for status
_KEPT = 50
#: an automatic distillation follows another one only with this many more rows
_GROWTH = 1.2
_GONE = frozenset({Stage.ROLLED_BACK, Stage.REJECTED, Stage.INCONCLUSIVE})

Trainer = Literal["auto", "classifier", "embedded"]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A happening, and when it was told (Unix seconds)."""

    ts: float
    happening: Happening


class _Count(msgspec.Struct, frozen=True, kw_only=True):
    n: int


class Distilling:
    """All routes' distillations. ``rollouts`` gives a route's rollouts."""

    def __init__(
        self,
        store: Store,
        config: Config,
        *,
        measures: Mapping[str, Measure],
        programs: ProgramVersions,
        rollouts: Callable[[str], RouteRollouts],
    ) -> None:
        self._store = store
        self._config = config
        self._measures = measures
        self._programs = programs
        self._rollouts = rollouts
        self._sittings: distil.Sittings = {}
        self._told: dict[str, deque[Told]] = {name: deque(maxlen=_KEPT) for name in config.routes}

    def happenings(self, route: str) -> list[Told]:
        """What happened lately to the distillations of a route, oldest first."""
        return list(self._told[route])

    async def advance(self, clients: Clients, route: RouteConfig) -> None:
        """Start a distillation of ``route`` if one is due, or bring the running one further."""
        now = time.time()
        await asyncio.to_thread(self.start_due, route, now)
        happened = await distil.advance(self._store, clients, self._sittings, route.name, now=now)
        for happening in happened:
            self._tell(happening)

    def _tell(self, happening: Happening) -> None:
        told = self._told[happening.route]
        if told and told[-1].happening == happening:
            return  # it still waits for the same thing
        _log.info("route %s: %s", happening.route, happening.message)
        told.append(Told(ts=time.time(), happening=happening))

    def start_due(self, route: RouteConfig, now: float) -> None:
        """Ask for a distillation if ``after_rows`` says so."""
        # Why not takes a look at all of a route's scores, and without the key it is never due.
        if route.distill.after_rows is not None and self.why_not(route, now=now) is None:
            self.request(route.name, now=now)

    def start_scheduled(self, route: RouteConfig) -> None:
        """The schedule's moment has come."""
        problem = self.why_impossible(route)
        if problem is None:
            self.request(route.name, now=time.time())
        else:
            _log.warning("route %s: not distilled by schedule: %s", route.name, problem)

    def why_not(self, route: RouteConfig, *, now: float) -> str | None:
        """Why no distillation starts by itself now; None: one is due."""
        wanted = route.distill.after_rows
        if not route.distill.enabled:
            return "it is off for this route"
        if wanted is None:
            return self.why_impossible(route) or _starts_otherwise(route)
        last = next(iter(distillations.recent(self._store, route.name, at_most=1)), None)
        waits = self._not_ready(route) or self._waits_for(route, last, now)
        # Only then, as these look at everything that the route has recorded.
        waits = waits or self._nothing_scored(route)
        if waits is not None:
            return waits
        rows = self.usable_rows(route, before=now)
        if last is not None:
            wanted = max(wanted, math.ceil(_GROWTH * self.usable_rows(route, before=last.ts)))
        if rows >= wanted:
            return None
        which = "first" if last is None else "next"
        return f"the {which} student needs {wanted:,} usable training rows, there are {rows:,}"

    def _waits_for(self, route: RouteConfig, last: Distillation | None, now: float) -> str | None:
        """What the last distillation leaves to wait for."""
        if last is None:
            return None
        if last.stage is not distillations.Stage.ENDED:
            return f"one is running: {last.stage}"
        if last.chosen is None:
            return None
        rollout = self._rollouts(route.name).get(last.chosen)
        if rollout is None:
            return f"student {last.chosen} is about to enter shadow evaluation"
        if rollout.stage not in _GONE:
            return f"student {last.chosen} is {rollout.stage}; the next one follows when it is gone"
        left = rollout.entered + route.policy.rollout.cool_down_s - now
        if left <= 0:
            return None
        return f"student {last.chosen} is {rollout.stage}; the next one follows in {duration(left)}"

    def why_impossible(self, route: RouteConfig) -> str | None:
        """Why no distillation of this route could begin at all; None: one could."""
        return self._not_ready(route) or self._nothing_scored(route)

    def _not_ready(self, route: RouteConfig) -> str | None:
        """What is not there yet, or never will be."""
        measure = self._measures.get(route.name)
        if measure is None:
            return "the route has no metric: nothing says which answers are good"
        if not measure.ready or not self._programs.version(route.name):
            return "the program host has not told its program's version yet"
        return None

    def _nothing_scored(self, route: RouteConfig) -> str | None:
        """A metric that fails on every answer: its exam would come to nothing, after the work."""
        counts = score_counts(self._store, route, self._measures[route.name].metric_hash)
        if counts.scored or not counts.not_scored:
            return None
        return (
            f"the metric scored none of {plural(counts.not_scored, 'answer')}"
            f" ({counts.why_not}, {counts.why_not_n:,} of them): mend the metric or the labels;"
            " an edited metric counts from the next start of control"
        )

    def usable_rows(self, route: RouteConfig, *, before: float) -> int:
        """Train rows that pass or have gold, of requests before a moment (Unix seconds)."""
        measure = self._measures.get(route.name)
        if measure is None:
            return 0
        found = self._store.one(
            "usable_rows",
            _Count,
            route=route.name,
            metric_hash=measure.metric_hash,
            program_version=self._programs.version(route.name),
            pass_score=route.pass_score,
            before_us=round(before * 1e6),
        )
        return found.n if found else 0

    def request(self, name: str, *, now: float, trainer: Trainer | None = None) -> str:
        """Ask for a distillation; returns its id, or that of the one that is running."""
        route = self._config.routes[name]
        measure = self._measures[name]
        spec = DatasetSpec(
            route=name,
            program=not route.plain,
            as_json=route.plain and route.output == "json",
            program_version=self._programs.version(name),
            metric_hash=measure.metric_hash,
            cutoff=now,
            pass_score=route.pass_score,
            needs_label=measure.needs_label,
            min_rows=route.distill.min_rows,
        )
        program = None
        if route.program is not None:
            program = ProgramSource(factory=route.program, user_dir=str(self._config.folder))
        champion = self._rollouts(name).champion
        settings = DistilSettings(
            spec=spec,
            program=program,
            trainer=trainer or route.distill.trainer,
            embedded_min_rows=route.distill.embedded_min_rows,
            max_seconds=route.distill.max_seconds,
            previous=champion.student if champion else None,
        )
        return distillations.request(self._store, settings, now=now)

    def running(self, route: str) -> str | None:
        """Id of the distillation that runs; None: none does."""
        running = distillations.unfinished(self._store, route)
        return running[0].distillation_id if running else None

    def chosen(self, route: str) -> list[str]:
        """Students that an exam chose, oldest first."""
        ended = distillations.recent(self._store, route)
        return [one.chosen for one in reversed(ended) if one.chosen is not None]


def _starts_otherwise(route: RouteConfig) -> str:
    order = f"`limbeck distill {route.name}`"
    if route.distill.schedule is None:
        return f"for {order}"
    return f"for its schedule ({route.distill.schedule}, UTC), or {order}"
