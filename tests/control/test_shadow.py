from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from control.candidates import Candidate, Endpoint
from control.config.values import Price
from control.judging import Judging
from control.measure import Measure
from control.replay import Replayer
from control.replaying import Replaying
from control.shadow import Shadow
from programs.metric_client import metric_for
from router.snapshot import Target, Upstream
from tests.control.stored import (
    ROUTE,
    STUDENT,
    T0,
    config_of,
    put_gold,
    put_sources,
    put_trace,
)
from tests.fakes.chat import Chat, chat_server
from tests.polling import until_async
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


class World:
    """One candidate, a fake student, and the two halves of shadow evaluation."""

    def __init__(self, tmp_path: Path, chat: Chat, client: httpx.AsyncClient) -> None:
        self.store = Store(tmp_path / "t.duckdb")
        self.chat = chat
        self.through = T0 + 1_000
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
            metric_for(str(config.metric), route=ROUTE, user_dir=self.tmp_path),
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
            turn_s=turn_s,
        )
        await judging.judge(ROUTE)

    @property
    def pairs(self) -> list[Row]:
        return self.store.all("all_pairs", Row, **self.candidate.key.params)


@pytest.fixture
def chat() -> Iterator[Chat]:
    with chat_server(lambda text, model: (200, f"{model}: {text}")) as chat:
        yield chat


@pytest.fixture
async def world(tmp_path: Path, chat: Chat) -> AsyncIterator[World]:
    async with httpx.AsyncClient(trust_env=False) as client:
        world = World(tmp_path, chat, client)
        yield world
        world.store.close()


async def test_a_drawn_request_is_replayed_and_scored_on_both_sides(world: World) -> None:
    first = put_trace(world.store, T0 + 1, text="a", answer="right")
    second = put_trace(world.store, T0 + 2, text="b", answer="wrong")
    world.chat.reply = lambda text, model: (200, {"a": "right", "b": "right too"}[text])
    await world.draw_and_replay()
    assert [pair.outcome for pair in world.pairs] == ["pending", "pending"]
    await world.judge()
    assert [pair.outcome for pair in world.pairs] == ["pending", "pending"], "no label yet"
    put_gold(world.store, second, "right too", ts=T0 + 5)
    put_gold(world.store, first, "right", ts=T0 + 6)
    await world.judge()
    scores = [(p.teacher_score, p.student_score, p.control_score) for p in world.pairs]
    # The negative control of the second pair is the student's answer to the first.
    assert scores == [(1.0, 1.0, None), (0.0, 1.0, 0.0)]
    assert {(pair.kind, pair.coverage, pair.propensity) for pair in world.pairs} == {
        ("shadow", "all", 1.0)
    }


async def test_only_requests_newer_than_the_student_and_already_known_are_drawn(
    world: World,
) -> None:
    put_trace(world.store, T0 - 1)
    known = put_trace(world.store, T0 + 1)
    put_trace(world.store, T0 + 2_000)
    await world.draw_and_replay()
    await world.draw_and_replay()
    assert [pair.trace_id for pair in world.pairs] == [known]


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "open"}, {"status": 500}, {"fallback": "timeout"}, {"no_shadow": True},
        {"retry": True}, {"answer": None}, {"finish": "client_disconnect"},
    ],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
async def test_what_is_no_delivered_answer_is_not_drawn(
    world: World, changes: dict[str, Any]
) -> None:
    put_trace(world.store, T0 + 1, **changes)
    await world.draw_and_replay()
    assert world.pairs == [] and world.chat.requests == []


async def test_a_student_that_fails_gives_no_pair(world: World) -> None:
    trace_id = put_trace(world.store, T0 + 1)
    world.chat.reply = lambda text, model: (502, "unusable")
    await world.draw_and_replay()
    put_gold(world.store, trace_id, "x", ts=T0 + 2)
    await world.judge()
    assert [(p.outcome, p.student_score) for p in world.pairs] == [("student_failed", None)]


async def test_a_student_served_request_is_replayed_on_the_teacher(world: World) -> None:
    trace_id = put_trace(
        world.store, T0 + 1, answer="mine", served_by="student", student=STUDENT, propensity=0.25
    )
    world.chat.reply = lambda text, model: (200, f"from {model}")
    await world.draw_and_replay()
    put_gold(world.store, trace_id, "from teacher", ts=T0 + 2)
    await world.judge()
    (pair,) = world.pairs
    assert (pair.kind, pair.teacher_score, pair.student_score) == ("reverse_shadow", 1.0, 0.0)
    assert pair.propensity == 0.25


async def test_a_teacher_that_fails_gives_no_pair(world: World) -> None:
    put_trace(world.store, T0 + 1, served_by="student", student=STUDENT)
    world.chat.reply = lambda text, model: (500, "down")
    await world.draw_and_replay()
    assert [pair.outcome for pair in world.pairs] == ["teacher_failed"]


async def test_without_a_label_the_pair_is_dropped_at_its_deadline(world: World) -> None:
    world.configure(shadow={"sample_rate": 1.0, "label_deadline_s": 0.7})
    trace_id = put_trace(world.store, time.time())
    world.through = time.time()
    await world.draw_and_replay()
    await world.judge()
    assert [pair.outcome for pair in world.pairs] == ["pending"]
    # Late: whoever takes it would let the answer decide which pairs count.
    put_gold(world.store, trace_id, "HELLO", ts=time.time() + 1)

    deadline = time.time() + 0.7
    await until_async(lambda: time.time() > deadline, what="the deadline is over")
    await world.judge()
    assert [pair.outcome for pair in world.pairs] == ["unlabelled"]


async def test_volunteered_labels_are_no_evidence(world: World) -> None:
    trace_id = put_trace(world.store, T0 + 1)
    put_gold(world.store, trace_id, "right", ts=T0 + 2, source="anybody")
    await world.draw_and_replay()
    await world.judge()
    assert [pair.outcome for pair in world.pairs] == ["pending"]


async def test_audit_labels_count_on_the_audit_sample_only(world: World) -> None:
    world.configure(feedback={"panel": "audit"}, shadow={"audit_rate": 0.05} | LATE_LABELS)
    audited = put_trace(world.store, T0 + 1, audit=True, audit_propensity=0.05, answer="x")
    put_trace(world.store, T0 + 2)
    await world.draw_and_replay()
    assert [(p.trace_id, p.propensity) for p in world.pairs] == [(audited, 0.05)]
    put_gold(world.store, audited, "x", ts=T0 + 3, source="panel")
    await world.judge()
    assert [(p.outcome, p.coverage) for p in world.pairs] == [("scored", "audit")]


async def test_a_confirmed_answer_is_the_truth_and_a_refused_one_says_none(world: World) -> None:
    right = put_trace(world.store, T0 + 1, answer="student: hello")
    wrong = put_trace(world.store, T0 + 2, answer="no")
    put_gold(world.store, right, ts=T0 + 3, confirmed=True)
    put_gold(world.store, wrong, ts=T0 + 3, confirmed=False)
    await world.draw_and_replay()
    await world.judge()
    assert [(p.outcome, p.teacher_score, p.student_score) for p in world.pairs] == [
        ("scored", 1.0, 1.0),
        ("no_gold", None, None),
    ]


async def test_a_confirmation_of_the_students_own_answer_is_no_evidence(world: World) -> None:
    trace_id = put_trace(world.store, T0 + 1, served_by="student", student=STUDENT)
    put_gold(world.store, trace_id, ts=T0 + 2, confirmed=True)
    await world.draw_and_replay()
    await world.judge()
    assert [pair.outcome for pair in world.pairs] == ["pending"]


async def test_the_daily_budget_stops_replays_and_says_so(world: World) -> None:
    world.configure(shadow={"sample_rate": 1.0, "daily_budget_usd": 0.00001} | LATE_LABELS)
    price = Price(input_per_m=1, output_per_m=2)
    world.candidate = msgspec.structs.replace(
        world.candidate, on_student=msgspec.structs.replace(world.candidate.on_student, price=price)
    )
    for second in range(1, 40):
        put_trace(world.store, T0 + second)
    await world.draw_and_replay()
    outcomes = [pair.outcome for pair in world.pairs]
    # 20 millionths a replay: what was under way when the budget ended is all that is over it.
    assert 1 <= outcomes.count("pending") <= 8 and outcomes.count("not_replayed") > 30
    put_trace(world.store, T0 + 50)
    asked = len(world.chat.requests)
    await world.draw_and_replay()
    assert "daily budget is used up" in world.shadow.paused[ROUTE]
    assert len(world.chat.requests) == asked and len(world.pairs) == 39


async def test_a_teacher_without_a_price_gets_no_reverse_shadow(world: World) -> None:
    endpoint = msgspec.structs.replace(world.candidate.on_teacher, price=None)
    world.candidate = msgspec.structs.replace(world.candidate, on_teacher=endpoint)
    put_trace(world.store, T0 + 1, served_by="student", student=STUDENT)
    await world.draw_and_replay()
    assert world.pairs == []


async def test_a_metric_that_cannot_score_one_side_drops_both(world: World) -> None:
    (world.tmp_path / "shy_metric.py").write_text(
        "def shy(example, prediction, trace=None):\n"
        "    if prediction.answer.startswith('student'):\n"
        "        raise RuntimeError('no idea')\n"
        "    return 1.0\n"
    )
    world.configure(metric="shy_metric:shy", feedback={})
    put_trace(world.store, T0 + 1)
    await world.draw_and_replay()
    await world.judge()
    await world.measure.close()
    assert [(p.outcome, p.teacher_score) for p in world.pairs] == [("not_scored", None)]


async def test_a_metric_that_needs_no_label_does_not_wait(world: World) -> None:
    (world.tmp_path / "length_metric.py").write_text(
        "def short(example, prediction, trace=None):\n    return len(prediction.answer) < 8\n"
    )
    world.configure(metric="length_metric:short", feedback={})
    put_trace(world.store, T0 + 1)
    await world.draw_and_replay()
    await world.judge()
    await world.measure.close()
    (pair,) = world.pairs
    assert (pair.outcome, pair.coverage) == ("scored", "all")
    assert (pair.teacher_score, pair.student_score) == (1.0, 0.0)


async def test_a_server_that_hangs_holds_up_no_answer_that_is_there(world: World) -> None:
    release = threading.Event()

    def reply(text: str, model: str) -> tuple[int, str]:
        if text == "hang":
            release.wait(10)
        return 200, "ok"

    world.chat.reply = reply
    hanging = put_trace(world.store, T0 + 1, text="hang")
    quick = [put_trace(world.store, T0 + 2 + second) for second in range(3)]
    for trace_id in (hanging, *quick):
        put_gold(world.store, trace_id, "HELLO", ts=T0 + 9)
    world.shadow.sample()
    turn = asyncio.create_task(world.replaying.replay(ROUTE))
    try:
        await until_async(lambda: len(answers(world)) == 3, what="the quick answers are there")
        await world.judge()
        judged = {pair.trace_id for pair in world.pairs if pair.outcome == "scored"}
        assert judged == set(quick) and not turn.done()
    finally:
        release.set()
        await turn
    assert [row.answer for row in answers(world)] == ["ok"] * 4


class Answered(msgspec.Struct):
    trace_id: str
    answer: str


def answers(world: World) -> list[Answered]:
    return world.store.all(
        "students_answers", Answered, **world.candidate.key.params, from_us=0, to_us=2 * 10**15
    )


async def test_a_slow_metric_decides_one_pair_a_turn_at_least(world: World) -> None:
    for second in (1, 2, 3):
        trace_id = put_trace(world.store, T0 + second)
        put_gold(world.store, trace_id, "HELLO", ts=T0 + 5)
    await world.draw_and_replay()
    await world.judge(turn_s=0)
    assert [pair.outcome for pair in world.pairs] == ["scored", "pending", "pending"]
    await world.judge(turn_s=0)
    assert [pair.outcome for pair in world.pairs] == ["scored", "scored", "pending"]


async def test_after_a_restart_drawing_goes_on_behind_the_newest_pair(world: World) -> None:
    first = put_trace(world.store, T0 + 100)
    await world.draw_and_replay()
    # Long before: had the new control begun at the start again, it would be drawn now.
    put_trace(world.store, T0 + 10)
    second = put_trace(world.store, T0 + 200)
    world.start()
    await world.draw_and_replay()
    assert [pair.trace_id for pair in world.pairs] == [first, second]


async def test_a_long_log_is_looked_at_in_pieces(world: World) -> None:
    near, far = put_trace(world.store, T0 + 1), put_trace(world.store, T0 + 900)
    world.shadow.sample()
    assert [pair.trace_id for pair in world.pairs] == [near]
    for _ in range(4):
        world.shadow.sample()
    assert [pair.trace_id for pair in world.pairs] == [near, far]


async def test_what_came_during_a_pause_is_left_out_for_good(world: World) -> None:
    world.configure(shadow={"sample_rate": 1.0, "daily_budget_usd": 0.0} | LATE_LABELS)
    put_trace(world.store, T0 + 1)
    world.through = T0 + 100
    world.shadow.sample()
    assert ROUTE in world.shadow.paused
    world.configure()
    world.through = T0 + 1_000
    after = put_trace(world.store, T0 + 200)
    world.shadow.sample()
    assert [pair.trace_id for pair in world.pairs] == [after]
