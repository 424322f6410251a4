from __future__ import annotations

from control.outages import RUN, Outages, Window


def run(*failed: bool) -> Outages:
    state = Outages()
    for ts, one in enumerate(failed):
        state = state.observe(ts=float(ts), failed=one)
    return state


def test_a_run_of_failures_is_an_outage_from_its_first_failure_to_the_next_success() -> None:
    state = run(False, *[True] * RUN, False)
    assert not state.out
    assert state.windows == (Window(1.0, RUN + 1.0),)
    assert [state.covers(ts) for ts in (0.5, 1.0, 3.0, RUN + 1.0, RUN + 1.5)] == [
        False, True, True, True, False,
    ]  # fmt: skip


def test_a_few_failures_are_no_outage_but_hold_the_watermark_while_the_run_is_open() -> None:
    state = run(False, *[True] * (RUN - 1))
    assert not state.out and not state.covers(2.0)
    assert state.settled_to == 1.0
    after = state.observe(ts=9.0, failed=False)
    assert after.windows == () and after.settled_to == float("inf")


def test_while_a_side_is_out_everything_since_its_first_failure_is_covered() -> None:
    state = run(*[True] * RUN)
    assert state.out and state.covers(0.0) and state.covers(1e9)
    assert state.settled_to == float("inf")
