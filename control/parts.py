"""Control's parts, put together: who needs whom, and which tick runs how often."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version

import httpx

from control.addresses import Addresses, ensure_addresses, load_addresses
from control.candidates import Endpoint
from control.collecting import Collecting, collector_context
from control.config.values import Config, RouteConfig
from control.distilling import Distilling
from control.event_copy import copy_events, open_log
from control.events import BrokenChain, EventLog, UnreadableLog
from control.examiner import Examiner
from control.facts import FactFinder
from control.feeds import Feeds
from control.freezes import Freezes
from control.health import HealthWatch
from control.judging import Judging
from control.layout import Layout
from control.measure import measures_of
from control.operations import Operations
from control.override import restore_overrides
from control.overrides import Overrides
from control.probes import Probes
from control.program_versions import ProgramVersions
from control.reconcile import Reconciler
from control.replay import Replayer
from control.replaying import Replaying
from control.reports import Reports
from control.rollouts import Rollouts
from control.scoring import Scoring
from control.secrets import INTERNAL_KEY_ENV, Secrets
from control.shadow import Shadow
from control.snapshots import SnapshotWriter
from control.status_view import StatusView
from control.ticks import Ticks
from distiller.fine_tuning import FineTuning
from distiller.happenings import Clients
from programs.rows import render_rows
from router.snapshot import Snapshot
from traces.store import Store

_log = logging.getLogger("limbeck.control")
_CHECKPOINT_S = 60.0
_PROGRAMS_S = 2.0
_PROBE_S = 1.0
#: overrides act by themselves; folding them only tidies up
_OVERRIDES_S = 0.25
#: looks for rows and asks the trainer, so not at every turn
_DISTIL_S = 0.5
_RENDER_S = 600.0


class Parts:
    """Everything that control consists of. Built in a thread, as it opens DuckDB."""

    def __init__(
        self, config: Config, layout: Layout, secrets: Secrets, environment: Mapping[str, str]
    ) -> None:
        self._config = config
        self._layout = layout
        self._started = time.time()
        #: what a person should look at, found at the start
        self._problems: list[str] = []
        ensure_addresses(layout.addresses, config, starting=False)
        self.store = Store(layout.database)
        self._http = httpx.AsyncClient(trust_env=False)
        code_version = version("limbeck")
        self.log = self._open_log(code_version)
        self.rollouts = self._fold()
        self.collecting = Collecting(
            self.store,
            layout.spool,
            collector_context(config, secrets),
            min_free_bytes=config.gateway.min_free_bytes,
        )
        self.programs = ProgramVersions(
            self.store,
            self._http,
            routes=config.routes,
            addresses=self._addresses,
            environment=environment,
        )
        self.measures, problems = measures_of(config, self.programs.description)
        self._problems += problems
        self.health = HealthWatch(self.store, layout.acknowledgements, started=self._started)
        self.writer = SnapshotWriter(
            layout,
            keys={name: environment[key.env] for name, key in config.gateway.keys.items()},
            salt=secrets.ramp_salt,
            addresses=self._addresses,
        )
        self.facts = FactFinder(
            config,
            layout,
            rollouts=self.rollouts,
            health=self.health,
            programs=self.programs,
            measures=self.measures,
            snapshot=self._snapshot,
            freezes=Freezes(config, self.store, layout.spool, self.collecting),
            started=self._started,
        )
        self.feeds = Feeds(
            self.store, rollouts=self.rollouts, health=self.health, measures=self.measures
        )
        self.reports = Reports(
            self.store,
            config,
            self.rollouts,
            consumed=lambda route, rollout: self.feeds.of(route, rollout).evidence.seq,
        )
        self.overrides = Overrides(
            layout,
            self.rollouts,
            evidence=lambda route, rollout: self.feeds.summary(route, rollout, now=time.time()),
        )
        self.distilling = Distilling(
            self.store,
            config,
            measures=self.measures,
            programs=self.programs,
            rollouts=self.rollouts.of,
        )
        self.reconciler = Reconciler(
            config,
            rollouts=self.rollouts,
            feeds=self.feeds,
            facts=self.facts,
            reports=self.reports,
            overrides=self.overrides,
            writer=self.writer,
            chosen=self.distilling.chosen,
            measures=self.measures,
            started=self._started,
        )
        replayer = Replayer(self._http, environment)
        candidates = self.facts.candidates
        self.shadow = Shadow(self.store, candidates=candidates, through=self.collecting.known_to)
        self.replaying = Replaying(self.store, replayer, candidates=candidates)
        self.judging = Judging(
            self.store,
            candidates=candidates,
            measures=self.measures,
            collected_to=lambda: self.collecting.collected_to,
        )
        self.scoring = Scoring(self.store, measures=self.measures, through=self.collecting.known_to)
        self.probes = Probes(self._http, self.health, self.facts.student_upstreams)
        self.clients = self._clients(replayer, environment)
        self.ticks = self._ticks()
        self.operations = self._operations(code_version)

    def prepare(self) -> None:
        """What must be right before the first tick: sources, overrides, evidence, snapshot."""
        with self.store.transaction():
            self.store.run("forget_feedback_sources")
            for route in self._config.routes.values():
                for source, coverage in route.feedback.items():
                    self.store.run(
                        "insert_feedback_source",
                        route=route.name,
                        source=source,
                        coverage=coverage,
                    )
        self.reconciler.begin()
        try:
            restore_overrides(self._layout.overrides)
            self.reconciler.fold_overrides()
        except Exception:
            # It is in force, and its tick tries again; without control no route would be guarded.
            _log.exception("an override could not be recorded at the start")

    async def close(self) -> None:
        """Finish the ticks under way, drain the spool, close everything."""
        await self.ticks.stop()
        try:
            await asyncio.to_thread(self.collecting.drain)
            if self.log.problem is None:
                await asyncio.to_thread(copy_events, self.log, self.store)
        finally:
            for measure in self.measures.values():
                await measure.close()
            await self.clients.trainer.close()
            await self._http.aclose()
            await asyncio.to_thread(self.store.close)
            self.log.close()

    # Building

    def _open_log(self, code_version: str) -> EventLog:
        try:
            return open_log(self._layout.events, self.store, code_version=code_version)
        except BrokenChain as error:
            return self._distrust(error)

    def _fold(self) -> Rollouts:
        try:
            return Rollouts(self.log, self._config.routes)
        except BrokenChain as error:
            self.log.close()
            self.log = self._distrust(error)
            return Rollouts(self.log, self._config.routes)

    def _distrust(self, error: BrokenChain) -> EventLog:
        _log.critical("%s", error)
        self._problems.append(str(error))
        return UnreadableLog(self._layout.events, str(error))

    def _clients(self, replayer: Replayer, environment: Mapping[str, str]) -> Clients:
        examiner = Examiner(replayer, measures=self.measures, endpoint=self._endpoint)
        trainer = self._addresses().trainer
        return Clients(
            trainer=FineTuning.local(f"{trainer.url}/v1", environment[INTERNAL_KEY_ENV]),
            render=partial(render_rows, timeout_s=_RENDER_S),
            ask=examiner.ask,
            score=examiner.score,
            trained=self._layout.trainer,
            students=self._layout.students,
        )

    def _ticks(self) -> Ticks:
        control = self._config.control
        ticks = Ticks()
        ticks.add("collect", self.collecting.step, every_s=control.collect_s)
        ticks.add("overrides", self.reconciler.fold_overrides, every_s=_OVERRIDES_S)
        ticks.add("shadow.sample", self.shadow.sample, every_s=control.tick_s)
        ticks.add("reconcile", self._reconcile, every_s=control.tick_s)
        ticks.add("reports", self.reports.make_missing, every_s=control.tick_s)
        ticks.add("events", self._copy_events, every_s=control.tick_s)
        ticks.add("programs", self.programs.poll, every_s=_PROGRAMS_S)
        ticks.add("probes", self.probes.probe, every_s=_PROBE_S)
        ticks.add("checkpoint", self.store.checkpoint, every_s=_CHECKPOINT_S)
        for route in self._config.routes.values():
            self._add_ticks_of(route, ticks)
        return ticks

    def _add_ticks_of(self, route: RouteConfig, ticks: Ticks) -> None:
        """What waits for a provider, a metric or a trainer: a slow one holds up its route only."""
        name, control = route.name, self._config.control
        distil = partial(self.distilling.advance, self.clients, route)
        ticks.add(f"score.{name}", partial(self.scoring.score, name), every_s=control.tick_s)
        ticks.add(f"replay.{name}", partial(self.replaying.replay, name), every_s=control.tick_s)
        ticks.add(f"judge.{name}", partial(self.judging.judge, name), every_s=control.tick_s)
        ticks.add(f"distil.{name}", distil, every_s=max(control.tick_s, _DISTIL_S))
        if route.distill.enabled and route.distill.schedule is not None:
            start = partial(self.distilling.start_scheduled, route)
            ticks.add_cron(f"schedule.{name}", start, line=route.distill.schedule)

    def _operations(self, code_version: str) -> Operations:
        view = StatusView(
            self._config,
            self.store,
            rollouts=self.rollouts,
            feeds=self.feeds,
            facts=self.facts,
            reconciler=self.reconciler,
            reports=self.reports,
            overrides=self.overrides,
            shadow=self.shadow,
            distilling=self.distilling,
            programs=self.programs,
            measures=self.measures,
            acknowledgements=self._layout.acknowledgements,
            collector=lambda: self.collecting.status,
            ticks=lambda: self.ticks.health,
            snapshot=self._snapshot,
            problems=lambda: (
                *self._problems,
                *self.reconciler.unfolded.values(),
                *self.programs.problems(),
            ),
            code_version=code_version,
            started=self._started,
        )
        return Operations(
            self._config,
            self.store,
            rollouts=self.rollouts,
            feeds=self.feeds,
            reconciler=self.reconciler,
            reports=self.reports,
            overrides=self.overrides,
            distilling=self.distilling,
            view=view,
        )

    # What the parts ask

    def _reconcile(self) -> None:
        self.reconciler.reconcile(self.collecting.known)

    def _copy_events(self) -> None:
        if self.log.problem is None:
            copy_events(self.log, self.store)

    def _addresses(self) -> Addresses:
        return load_addresses(self._layout.addresses)

    def _snapshot(self) -> Snapshot:
        current = self.writer.current
        return current if current is not None else self.reconciler.publish()

    def _endpoint(self, route: str, student: str) -> Endpoint:
        return self.facts.endpoint(self._config.routes[route], student)
