from __future__ import annotations

import msgspec
import pytest

from router.duplicates import DailyCount, FirstCopies, GuardCopies, GuardCopiesState
from router.errors import EvidenceError
from router.outages import Outages
from router.policy import DAY_S
from router.recent import Recent


def test_the_gate_takes_the_first_copy_only() -> None:
    copies = FirstCopies()
    assert [copies.counts(c) for c in ("a", "b", "a", None, None)] == [
        True,
        True,
        False,
        True,
        True,
    ]
    assert copies.state() == ("a", "b")


def replay(copies: GuardCopies, *arrivals: tuple[str, float]) -> list[bool]:
    result = []
    for cluster, day in arrivals:
        result.append(copies.counts(cluster, day * DAY_S))
        copies.remember(cluster, day * DAY_S)
    return result


def test_the_guard_takes_a_copy_once_in_seven_days() -> None:
    seen = replay(GuardCopies(), ("a", 0.1), ("a", 0.2), ("a", 6.9), ("a", 7.1), ("b", 7.2))
    assert seen == [True, False, False, True, True]


def test_templates_count_in_full() -> None:
    copies = GuardCopies()
    arrivals = [("a", day + 0.1) for day in range(5)] + [("a", 5.5), ("a", 5.6)]
    assert replay(copies, *arrivals) == [True, False, False, False, False, True, True]


def test_a_rare_cluster_is_no_template() -> None:
    copies = GuardCopies()
    for day in range(6):
        replay(copies, ("rare", day + 0.1), *((f"x{day}-{i}", day + 0.2) for i in range(150)))
    assert not copies.counts("rare", 6.5 * DAY_S)


def test_memory_ends_after_28_days() -> None:
    copies = GuardCopies()
    replay(copies, *(("a", day + 0.1) for day in range(6)), ("b", 60.0))
    assert [c.cluster for c in copies.state().clusters] == ["b"]


def test_a_restart_forgets_what_counted() -> None:
    copies = GuardCopies()
    replay(copies, ("a", 0.1))
    copies.restart()
    assert copies.counts("a", 0.2 * DAY_S)


def test_guard_copies_state_is_exact() -> None:
    copies = GuardCopies()
    replay(copies, *((f"c{i % 7}", i / 3) for i in range(60)))
    state = msgspec.json.decode(msgspec.json.encode(copies.state()), type=GuardCopiesState)
    loaded = GuardCopies.restore(state)
    more = [(f"c{i % 9}", 20 + i / 3) for i in range(30)]
    assert replay(loaded, *more) == replay(copies, *more)
    assert loaded.state() == copies.state()


def test_a_days_mean_leaves_out_the_first_and_the_last_day() -> None:
    count = DailyCount()
    for day, n in ((0, 3), (1, 10), (2, 20), (3, 1)):
        for i in range(n):
            count.add(day * DAY_S + i)
    assert count.mean == 15.0
    assert DailyCount().mean == 0.0


def test_outage_windows_merge_and_give_their_share() -> None:
    outages = Outages()
    for window in ((10.0, 20.0), (15.0, 30.0), (15.0, 30.0), (90.0, 200.0)):
        outages.add(*window)
    assert outages.share(None) == 0.0  # no pairs yet
    outages.saw(0.0)
    outages.saw(100.0)
    assert outages.count == 2
    assert outages.share(None) == pytest.approx(0.3)
    assert Outages.restore(outages.state()).share(None) == outages.share(None)
    with pytest.raises(EvidenceError, match="ends before"):
        outages.add(2.0, 1.0)


def test_recent_mean_forgets_what_is_old() -> None:
    recent = Recent(7 * DAY_S)
    for day in range(20):
        recent.add(day * DAY_S, (1.0 if day < 10 else -1.0, 0.5), 0.5)
    means = recent.means(19.5 * DAY_S)
    assert means == pytest.approx((-1.0, 0.5))
    assert recent.means(40 * DAY_S) is None
    loaded = Recent.restore(recent.state())
    loaded.add(20 * DAY_S, (3.0, 0.5), 1.0)
    assert loaded.means(20.5 * DAY_S) != means
