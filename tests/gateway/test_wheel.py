from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wheel import TICK_S, Timer, Wheel


class _Noted(Timer):
    __slots__ = ("at", "fired")

    def __init__(self, at: float) -> None:
        self.at = at
        self.fired: list[float] = []

    def on_due(self, now: float) -> None:
        self.fired.append(now)


@given(st.lists(st.floats(0, 20), max_size=20), st.lists(st.floats(0.001, 0.3), max_size=200))
def test_a_timer_fires_once_never_early_and_at_the_next_tick(
    delays: list[float], steps: list[float]
) -> None:
    wheel = Wheel()
    start = now = wheel.now
    timers = [_Noted(start + delay) for delay in delays]
    for timer in timers:
        wheel.add(timer, timer.at)
    for step in steps:
        now += step
        wheel.advance(now)
    for timer in timers:
        if now >= timer.at + TICK_S + 1e-6:
            assert len(timer.fired) == 1
        assert all(timer.at <= fired for fired in timer.fired)
    assert len(wheel) == sum(not timer.fired for timer in timers)


def test_a_removed_timer_leaves_nothing_behind() -> None:
    wheel = Wheel()
    timer = _Noted(wheel.now + 5)
    wheel.add(timer, timer.at)
    wheel.remove(timer)
    wheel.remove(timer)
    wheel.advance(wheel.now + 10)
    assert timer.fired == []
    assert len(wheel) == 0


def test_a_broken_timer_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Timer):
        __slots__ = ()

        def on_due(self, now: float) -> None:
            raise RuntimeError("broken on purpose")

        def __repr__(self) -> str:
            return "sk-secret"

    wheel = Wheel()
    at = wheel.now + 1
    timers = [_Noted(at) for _ in range(3)]
    for timer in (timers[0], Broken(), *timers[1:]):
        wheel.add(timer, at)
    wheel.advance(at + 1)
    assert [len(timer.fired) for timer in timers] == [1, 1, 1]
    assert "broken on purpose" in caplog.text
    assert "sk-secret" not in caplog.text
