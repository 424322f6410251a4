from __future__ import annotations

import itertools

import msgspec
import pytest

from router.forms import Form
from router.guard import (
    AvailabilityGuard,
    QualityGuard,
    QualityGuardState,
    quality_arl,
)
from router.policy import DAY_S, GuardPolicy
from tests.router.build import scores

RATIO = Form("retention", 0.95)
POLICY = GuardPolicy(warn_min_pairs=200)
ARL = 20_000.0


def test_a_drop_ends_in_an_alarm() -> None:
    guard = QualityGuard(RATIO, alpha=0.05, policy=POLICY)
    for s, t in itertools.islice(scores(3, student=0.91, teacher=0.92, both=0.88), 500):
        guard.add(s, t, 1.0, arl=ARL)
    assert guard.verdict(ARL).verdict == "clear"
    assert f" (alarms at {ARL:,.0f}) after 500 pairs" in guard.verdict(ARL).reason
    worse = scores(4, student=0.71, teacher=0.92, both=0.68)
    took = 0
    while guard.verdict(ARL).verdict != "alarm":
        guard.add(*next(worse), 1.0, arl=ARL)
        took += 1
    assert 40 < took < 300
    assert "no longer student >= 0.950 x teacher" in guard.verdict(ARL).reason


def test_the_warning_bar_is_what_fresh_pairs_have_proved() -> None:
    guard = QualityGuard(RATIO, alpha=0.05, policy=POLICY)
    for _ in range(199):
        guard.add(1.0, 1.0, 1.0, arl=ARL)
    assert [line.guard for line in guard.summaries(2e4)] == ["bar"]
    for _ in range(200):
        guard.add(1.0, 1.0, 1.0, arl=ARL)
    bar, warn = guard.summaries(2e4)
    assert (warn.guard, warn.bar) == ("warn", 0.975)
    assert warn.n < bar.n  # it sees only pairs that came after its bar was chosen


def test_no_warning_without_a_proved_bar() -> None:
    guard = QualityGuard(RATIO, alpha=0.05, policy=POLICY)
    source = scores(5, student=0.88, teacher=0.92)
    for _ in range(600):
        guard.add(*next(source), 1.0, arl=ARL)
    assert [line.guard for line in guard.summaries(2e4)] == ["bar"]


def warned() -> QualityGuard:
    """A student that was proved to be equal and is now between warning bar and bar."""
    guard = QualityGuard(RATIO, alpha=0.05, policy=POLICY)
    for _ in range(400):
        guard.add(1.0, 1.0, 1.0, arl=1_000)
    for i in range(4_000):
        guard.add(0.0 if i % 25 == 0 else 1.0, 1.0, 1.0, arl=1_000)  # .96 of a bar of .975
        if guard.verdict(1_000).verdict == "warn":
            return guard
    raise AssertionError("no warning")


def test_a_warning_comes_before_the_bar_and_can_be_restarted() -> None:
    guard = warned()
    assert "0.975 x teacher" in guard.verdict(1_000).reason
    guard.restart_warning()
    assert guard.verdict(1_000).verdict == "clear"
    guard.add(0.0, 1.0, 1.0, arl=1_000, warn=False)
    assert [line.n for line in guard.summaries(1_000) if line.guard == "warn"] == [0]


def test_state_is_exact() -> None:
    guard = warned()
    state = msgspec.json.decode(msgspec.json.encode(guard.state()), type=QualityGuardState)
    loaded = QualityGuard.restore(state, alpha=0.05, policy=POLICY)
    for subject in (guard, loaded):
        subject.add(0.25, 0.75, 0.5, arl=1_000)
    assert loaded.state() == guard.state()


def test_all_bars_together_keep_the_policys_time_to_a_false_alarm() -> None:
    assert quality_arl(POLICY, 10.0, 1) == 20_000
    assert quality_arl(POLICY, 10.0, 2) == 40_000
    assert quality_arl(POLICY, 1_000.0, 1) == 30_000


def requests(guard: AvailabilityGuard, n: int, *, start: float = 1.0, **what: bool) -> int | None:
    """Send until the alarm; how many it took."""
    for i in range(1, n + 1):
        guard.add(start + i, **{"failed": False, **what})
        if guard.verdict().verdict == "alarm":
            return i
    return None


def test_a_dead_student_is_held_after_seven_requests() -> None:
    guard = AvailabilityGuard(GuardPolicy())
    for i in range(1_000):
        guard.add(1.0 + i, failed=i % 100 == 50)
    assert requests(guard, 50, start=2_000.0, failed=True) in (7, 8)
    assert "failed before the first byte" in guard.verdict().reason
    assert requests(AvailabilityGuard(GuardPolicy()), 50, failed=True) is not None


def test_healthy_and_slow_requests() -> None:
    assert requests(AvailabilityGuard(GuardPolicy()), 3_000) is None
    slow = AvailabilityGuard(GuardPolicy())
    took = requests(slow, 100, slow=True)
    assert took is not None and took < 25
    assert "slow" in slow.verdict().reason


def test_a_failed_request_is_not_slow_as_well() -> None:
    guard = AvailabilityGuard(GuardPolicy(error_rate=0.6))
    for i in range(400):
        guard.add(1.0 + i, failed=i % 2 == 0, slow=i % 2 == 0)
    assert guard.verdict().verdict == "clear"


def test_a_return_starts_the_detectors_afresh() -> None:
    guard = AvailabilityGuard(GuardPolicy())
    requests(guard, 50, failed=True)
    guard.follow(100.0)
    assert (guard.n, guard.failures, guard.verdict().verdict) == (0, 0, "clear")
    guard.add(99.0, failed=True)
    assert (guard.n, guard.failures) == (0, 0)
    guard.follow(100.0)
    guard.add(101.0, failed=True)
    guard.follow(100.0)
    assert guard.n == 1


def test_thirty_days_of_requests_raise_the_level() -> None:
    guard = AvailabilityGuard(GuardPolicy(availability_arl=100.0))
    for day in range(4):
        for i in range(200):
            guard.add(day * DAY_S + 1.0 + i, failed=False)
    assert guard.arl == pytest.approx(30 * 200)


def test_an_old_peak_is_no_alarm_when_the_traffic_falls() -> None:
    guard = AvailabilityGuard(GuardPolicy(availability_arl=1_000.0))
    for day in range(3):
        for i in range(2_000):
            guard.add(day * DAY_S + 1.0 + i, failed=day == 2 and i < 4)
    for day in range(4, 40):
        guard.add(day * DAY_S + 1.0, failed=False)
    assert guard.arl == 1_000.0 and guard.verdict().verdict == "clear"
    today = AvailabilityGuard(GuardPolicy(availability_arl=1_000.0))
    requests(today, 2_000)
    assert requests(today, 4, start=3_000.0, failed=True) is not None, "today it would be an alarm"
    for i in range(50):
        guard.add(41 * DAY_S + i, failed=True)
    for day in range(42, 60):
        for i in range(2_000):
            guard.add(day * DAY_S + 1.0 + i, failed=False)
    assert guard.verdict().verdict == "alarm", "it stays one until the student has returned"
