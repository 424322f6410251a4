from __future__ import annotations

import random

import pytest

from control.outages import FAILURE, RUN, WEIGHED_S, Outages, Window


def run(*failed: bool, start: Outages | None = None, at: float = 0.0) -> Outages:
    """One request a second from ``at`` on, each over at once."""
    state = Outages() if start is None else start
    for second, one in enumerate(failed):
        ts = at + second
        state = state.failed(began=ts, ended=ts) if one else state.answered(ended=ts)
    return state


def test_failures_in_a_row_are_an_outage_until_the_next_answer() -> None:
    state = run(False, *[True] * RUN, *[False] * RUN * FAILURE)
    assert state == Outages(windows=(Window(1.0, RUN + 1.0),))
    assert [state.covers(ts) for ts in (0.5, 1.0, 3.0, RUN + 1.0, RUN + 1.5)] == [
        False, True, True, True, False,
    ]  # fmt: skip


def test_while_it_is_out_everything_since_its_first_failure_is_covered() -> None:
    state = run(*[True] * RUN)
    assert state.out and state.covers(0.0) and state.covers(1e9)


def test_behind_the_first_answer_it_is_open_whether_the_outage_goes_on() -> None:
    state = run(*[True] * RUN, False)
    assert state.out and state.covers(RUN) is True
    assert state.covers(RUN + 1.0) is None
    again = state.failed(began=RUN + 2.0, ended=RUN + 3.0)
    assert again.covers(RUN + 1.0) is True


def test_one_failure_holds_back_until_enough_answers_outweigh_it() -> None:
    state = run(False, True)
    assert state.covers(0.5) is False and state.covers(1.0) is None and state.covers(9.0) is None
    state = run(*[False] * (FAILURE - 1), start=state, at=2.0)
    assert state.covers(1.0) is None
    state = state.answered(ended=99.0)
    assert state == Outages() and state.covers(1.0) is False


def test_many_answers_at_once_weigh_as_much_as_one_by_one() -> None:
    failed = run(*[True] * RUN)
    at_once = failed.answered(ended=5.0).answered(ended=6.0, n=RUN * FAILURE - 1)
    assert at_once == run(*[False] * RUN * FAILURE, start=failed, at=5.0)


@pytest.mark.parametrize("seed", range(20))
def test_an_overload_with_answers_in_between_is_one_window_from_its_first_failure(
    seed: int,
) -> None:
    rng = random.Random(seed)
    overload = [True, *(rng.random() < 0.3 for _ in range(200)), True]
    state = run(*[False] * 50, *overload, *[False] * RUN * FAILURE)
    assert state.windows == (Window(50.0, 50.0 + len(overload)),)


@pytest.mark.parametrize("rate", [0.005, 0.02, 0.056, 0.1, 0.3])
def test_whatever_the_failure_rate_it_is_soon_decided(rate: float) -> None:
    """No student's evidence waits for ever because it fails now and then."""
    rng = random.Random(7)
    waits = []
    for _ in range(500):
        state, n = Outages().failed(began=0.0, ended=0.0), 1
        while state.since is not None and not state.out:
            state = run(rng.random() < rate, start=state, at=float(n))
            n += 1
        waits.append(n)
    assert sum(waits) / len(waits) < 100


def test_a_student_at_the_normal_failure_rate_is_hardly_ever_out() -> None:
    rng = random.Random(3)
    state = run(*(rng.random() < 0.02 for _ in range(50_000)))
    assert sum(window.end - window.start for window in state.windows) < 1_000


def test_a_fault_makes_an_outage_of_the_failures_before_it() -> None:
    state = run(False, True, False).fault_began(3.0)
    assert state.covers(1.0) is True and state.covers(1e9) is True and state.covers(0.5) is False
    state = run(*[False] * 300, start=state, at=4.0)
    assert state.covers(200.0) is True, "answers alone do not end a fault"
    state = state.fault_ended(400.0)
    assert state == Outages(windows=(Window(1.0, 400.0),))


def test_a_fault_without_failures_covers_its_own_time() -> None:
    assert Outages().fault_began(5.0).fault_ended(9.0).windows == (Window(5.0, 9.0),)
    assert Outages().fault_ended(9.0) == Outages()


def test_where_requests_are_rare_an_hour_without_a_failure_decides() -> None:
    failed = run(True, False)
    assert failed.settled(WEIGHED_S - 1.0).covers(0.0) is None
    assert failed.settled(WEIGHED_S) == Outages()
    out = run(*[True] * RUN, False)
    assert out.settled(2 * WEIGHED_S).windows == (Window(0.0, float(RUN)),)
    gone = run(*[True] * RUN)
    assert gone.settled(100 * WEIGHED_S).covers(99 * WEIGHED_S) is True, "nobody has answered yet"
    fault = failed.fault_began(2.0)
    assert fault.settled(100 * WEIGHED_S) == fault
