from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from control.ticks import Ticks
from tests.polling import until_async


async def test_a_failing_tick_is_counted_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL)
    ticks, good = Ticks(), []

    def bad() -> None:
        raise RuntimeError("disk on fire")

    async def fine() -> None:
        good.append(1)

    ticks.add("bad", bad, every_s=0.02)
    ticks.add("fine", fine, every_s=0.02)
    ticks.start()
    await until_async(lambda: len(good) > 2 and ticks.health[0].failures > 2, what="both ran")
    await ticks.stop()
    assert ticks.health[0].last_error == "RuntimeError: disk on fire"
    assert ticks.health[1].failures == 0


async def test_a_failure_that_repeats_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    # One character stands for one run; "." is a success.
    runs, story = iter("aaabb.b"), "aaabb.b"

    def some() -> None:
        run = next(runs, ".")
        if run != ".":
            raise RuntimeError(run)

    ticks = Ticks()
    ticks.add("some", some, every_s=0.01)
    ticks.start()
    await until_async(lambda: ticks.health[0].runs > len(story), what="the story is told")
    await ticks.stop()
    logged = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert [str(error) for error in logged] == ["a", "b", "b"]
    assert ticks.health[0].failures == 6, "all are counted"
    assert ticks.health[0].last_error is None, "the last one went well"


async def test_stop_waits_for_the_tick_under_way_and_a_tick_never_runs_beside_itself() -> None:
    ticks, release, ended = Ticks(), threading.Event(), []
    inside = 0

    def slow() -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        release.wait(5)
        inside -= 1
        ended.append(1)

    ticks.add("slow", slow, every_s=0.02)
    ticks.start()
    await until_async(lambda: inside == 1, what="the tick runs")
    release.set()
    await ticks.stop()
    assert ended and inside == 0
    assert ticks.health[0].failures == 0


async def test_stop_cancels_a_coroutine_that_waits_for_somebody_else() -> None:
    ticks, inside, ended = Ticks(), asyncio.Event(), []

    async def hanging() -> None:
        inside.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)

    ticks.add("hanging", hanging, every_s=0.02)
    ticks.start()
    await asyncio.wait_for(inside.wait(), 10)
    await asyncio.wait_for(ticks.stop(), 10)
    assert ended == [1]
    assert (ticks.health[0].runs, ticks.health[0].failures) == (0, 0)
