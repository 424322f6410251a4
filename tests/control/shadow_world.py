"""One candidate under shadow evaluation: a real store, a fake student, no ticks."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import duckdb
import httpx
import msgspec

from control.candidates import Candidate, Endpoint
from control.config.values import Price
from control.judging import Judging
from control.measure import Measure
from control.replay import Replayer
from control.replaying import Replaying
from control.shadow import Shadow
from programs.metric_client import metric_for
from programs.metric_hash import metric_hash
from router.snapshot import Target, Upstream
from tests.control.stored import ROUTE, STUDENT, T0, config_of, put_sources
from tests.fakes.chat import Chat, chat_server
from traces.store import Store

#: the requests of these tests are years old
LATE_LABELS = {"label_deadline_s": 1e9}


class Row(msgspec.Struct):
    trace_id: str
    kind: str
    outcome: str
    teacher_score: float | None
    student_score: float | None
    control_score: float | None
    propensity: float
    coverage: str | None


class ShadowWorld:
    """One candidate, a fake student, and the two halves of shadow evaluation."""

    def __init__(self, tmp_path: Path, chat: Chat, client: httpx.AsyncClient) -> None:
        self.store = Store(tmp_path / "t.duckdb")
        self.chat = chat
        self.through = T0 + 1_000
        self.collected_to = math.inf
        self.tmp_path = tmp_path
        self.configure()
        self.replaying = Replaying(
            self.store, Replayer(client, {}), candidates=lambda: (self.candidate,)
        )
        self.start()

    def start(self) -> None:
        """As a control that has just started: it remembers nothing of the draws before."""
        self.shadow = Shadow(
            self.store, candidates=lambda: (self.candidate,), through=lambda _: self.through
        )

    def configure(self, price: Price | None = None, **route: Any) -> None:
        self.config = config_of(self.tmp_path, **route)
        config = self.config.routes[ROUTE]
        upstream = Upstream(base_url=self.chat.url)
        self.candidate = Candidate(
            config=config,
            student=STUDENT,
            k=1,
            stage="SHADOW",
            metric_hash="m1",
            since=T0,
            on_student=Endpoint(
                upstream=upstream,
                target=Target(upstream="students", model="student"),
                price=config.student_price,
            ),
            on_teacher=Endpoint(
                upstream=upstream,
                target=Target(upstream="up", model="teacher"),
                price=price or Price(input_per_m=1, output_per_m=2),
            ),
        )
        self.store.run("forget_feedback_sources")
        put_sources(self.store, **config.feedback)
        self.measure = Measure(
            config,
            metric_for(
                str(config.metric),
                metric_hash=metric_hash(str(config.metric), self.tmp_path),
                route=ROUTE,
                user_dir=self.tmp_path,
            ),
            metric_hash="m1",
            describe=lambda: None,
        )

    async def draw_and_replay(self) -> None:
        self.shadow.sample()
        await self.replaying.replay(ROUTE)

    async def judge(self, *, turn_s: float = 5.0) -> None:
        judging = Judging(
            self.store,
            candidates=lambda: (self.candidate,),
            measures={ROUTE: self.measure},
            collected_to=lambda: self.collected_to,
            turn_s=turn_s,
        )
        await judging.judge(ROUTE)

    def pass_deadlines(self) -> None:
        """As if a label were in time for a minute only, which is long ago."""
        self.store.close()  # the next call opens it again
        with duckdb.connect(str(self.store.path)) as connection:
            connection.execute("UPDATE pairs SET deadline = ts + INTERVAL 1 MINUTE")

    @property
    def pairs(self) -> list[Row]:
        params = self.candidate.key.params
        far = round((T0 + 1e9) * 1e6)
        return self.store.all("next_pairs", Row, **params, through_us=far, at_most=1_000)


@asynccontextmanager
async def shadow_world(tmp_path: Path) -> AsyncIterator[ShadowWorld]:
    """Both sides answer ``MODEL: TEXT`` unless the test says otherwise."""
    with chat_server(lambda text, model: (200, f"{model}: {text}")) as chat:
        async with httpx.AsyncClient(trust_env=False) as client:
            world = ShadowWorld(tmp_path, chat, client)
            yield world
            world.store.close()
