from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from control.config.values import Price
from tests.control.shadow_world import LATE_LABELS, ShadowWorld, shadow_world
from tests.control.stored import ROUTE, STUDENT, T0, put_gold, put_trace
from tests.polling import until_async


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ShadowWorld]:
    async with shadow_world(tmp_path) as world:
        yield world


async def test_a_drawn_request_is_replayed_and_scored_on_both_sides(world: ShadowWorld) -> None:
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
    world: ShadowWorld,
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
    world: ShadowWorld, changes: dict[str, Any]
) -> None:
    put_trace(world.store, T0 + 1, **changes)
    await world.draw_and_replay()
    assert world.pairs == [] and world.chat.requests == []


async def test_a_student_that_fails_gives_no_pair(world: ShadowWorld) -> None:
    trace_id = put_trace(world.store, T0 + 1)
    world.chat.reply = lambda text, model: (502, "unusable")
    await world.draw_and_replay()
    put_gold(world.store, trace_id, "x", ts=T0 + 2)
    await world.judge()
    assert [(p.outcome, p.student_score) for p in world.pairs] == [("student_failed", None)]


async def test_a_student_served_request_is_replayed_on_the_teacher(world: ShadowWorld) -> None:
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


async def test_a_teacher_that_fails_gives_no_pair(world: ShadowWorld) -> None:
    put_trace(world.store, T0 + 1, served_by="student", student=STUDENT)
    world.chat.reply = lambda text, model: (500, "down")
    await world.draw_and_replay()
    assert [pair.outcome for pair in world.pairs] == ["teacher_failed"]


async def test_the_daily_budget_stops_replays_and_says_so(world: ShadowWorld) -> None:
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


async def test_a_teacher_without_a_price_gets_no_reverse_shadow(world: ShadowWorld) -> None:
    endpoint = msgspec.structs.replace(world.candidate.on_teacher, price=None)
    world.candidate = msgspec.structs.replace(world.candidate, on_teacher=endpoint)
    put_trace(world.store, T0 + 1, served_by="student", student=STUDENT)
    await world.draw_and_replay()
    assert world.pairs == []


async def test_a_server_that_hangs_holds_up_no_answer_that_is_there(world: ShadowWorld) -> None:
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


def answers(world: ShadowWorld) -> list[Answered]:
    return world.store.all(
        "students_answers", Answered, **world.candidate.key.params, from_us=0, to_us=2 * 10**15
    )


async def test_after_a_restart_drawing_goes_on_behind_the_newest_pair(world: ShadowWorld) -> None:
    first = put_trace(world.store, T0 + 100)
    await world.draw_and_replay()
    # Long before: had the new control begun at the start again, it would be drawn now.
    put_trace(world.store, T0 + 10)
    second = put_trace(world.store, T0 + 200)
    world.start()
    await world.draw_and_replay()
    assert [pair.trace_id for pair in world.pairs] == [first, second]


async def test_a_long_log_is_looked_at_in_pieces(world: ShadowWorld) -> None:
    near, far = put_trace(world.store, T0 + 1), put_trace(world.store, T0 + 900)
    world.shadow.sample()
    assert [pair.trace_id for pair in world.pairs] == [near]
    for _ in range(4):
        world.shadow.sample()
    assert [pair.trace_id for pair in world.pairs] == [near, far]


async def test_what_came_during_a_pause_is_left_out_for_good(world: ShadowWorld) -> None:
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
