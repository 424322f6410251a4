from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distiller.intervals import interval, smallest_gap, standard_error


def test_wilson_for_right_and_wrong() -> None:
    found = interval([1.0] * 90 + [0.0] * 10)
    assert found.method == "wilson"
    assert found.low == pytest.approx(0.8256, abs=1e-4)
    assert found.high == pytest.approx(0.9448, abs=1e-4)


def test_bootstrap_for_graded_scores_is_seeded() -> None:
    scores = [0.5, 0.75, 1.0, 0.25] * 25
    found = interval(scores)
    assert found.method == "bootstrap"
    assert found == interval(scores)
    assert 0.55 < found.low < 0.625 < found.high < 0.70


def test_nothing_scored_says_nothing() -> None:
    assert interval([]) == (0.0, 1.0, "wilson")
    assert smallest_gap([]) == 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_an_interval_holds_its_mean(scores: list[float]) -> None:
    low, high, _ = interval(scores)
    mean = sum(scores) / len(scores)
    assert -1e-9 <= low <= mean + 1e-9
    assert mean - 1e-9 <= high <= 1 + 1e-9


@pytest.mark.parametrize(("n", "gap"), [(36, 0.131), (100, 0.079), (1_000, 0.025)])
def test_the_smallest_gap_is_that_of_the_planning_table(n: int, gap: float) -> None:
    discordant = round(0.1 * n)
    differences = [1.0] * (discordant // 2) + [-1.0] * (discordant - discordant // 2)
    differences += [0.0] * (n - discordant)
    assert smallest_gap(differences) == pytest.approx(gap, abs=0.008)


def test_without_a_discordant_pair_the_gap_is_not_nothing() -> None:
    assert smallest_gap([0.0] * 100) == pytest.approx(0.0249, abs=1e-4)


def test_one_pair_has_no_standard_error() -> None:
    assert standard_error([0.3]) == 1.0
    assert standard_error([0.0, 0.0, 1.0, 1.0]) == pytest.approx(0.2887, abs=1e-4)
