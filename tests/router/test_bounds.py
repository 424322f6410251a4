from __future__ import annotations

import math

import msgspec
import pytest

from router.bets import Bets
from router.bounds import (
    Proved,
    ProvedState,
    TimeAverage,
    anytime_p,
    detection_pairs,
    pairs_needed,
    smallest_detectable,
    tipping_point,
)
from router.errors import EvidenceError
from router.forms import Form, Kind
from tests.router.build import scores

RATIO = Form("retention", 0.95)


def test_time_average_worked_example() -> None:
    average = TimeAverage(-0.95, 1.0)
    bounds = {}
    for i in range(1, 201):
        average.add(0.05)
        bounds[i] = average.lower(0.05) if i in (100, 200) else None
    assert bounds[100] == pytest.approx(-0.08497686, abs=1e-5)
    assert bounds[200] == pytest.approx(-0.01748962, abs=1e-5)


def test_time_average_holds_the_mean_between_its_bounds() -> None:
    average = TimeAverage(0.0, 1.0)
    source = scores(1, student=0.9, teacher=0.9)
    for _ in range(1_000):
        average.add(next(source)[0])
    assert average.mean is not None
    assert 0.85 < average.lower(0.025) < average.mean < average.upper(0.025) < 0.95
    assert TimeAverage.restore(average.state()).lower(0.05) == average.lower(0.05)


def brute_force(form: Form, seen: list[tuple[float, float]], alpha: float) -> float | None:
    """The definition: the strictest bar such that it and all looser ones were once rejected."""
    proved = None
    for bar in form.grid():
        candidate = form.at(bar)
        bets = Bets(candidate.gate_bound)
        for student, teacher in seen:
            bets.update(candidate.difference(student, teacher))
        if bets.log_max < -math.log(alpha):
            break
        proved = bar
    return proved


@pytest.mark.parametrize("kind", ["retention", "min_score", "margin"])
@pytest.mark.parametrize("student", [0.4, 0.91])
def test_proved_is_the_bound_of_the_whole_grid(kind: Kind, student: float) -> None:
    form = Form(kind, {"retention": 0.95, "min_score": 0.8, "margin": 0.05}[kind])
    source = scores(7, student=student, teacher=0.92)
    seen = [next(source) for _ in range(400)]
    proved = Proved(form, form.grid(), 0.05)
    for i, (s, t) in enumerate(seen):
        if i == 150:  # through JSON, mid-stream
            text = msgspec.json.encode(proved.state())
            proved = Proved.restore(form, msgspec.json.decode(text, type=ProvedState))
        proved.add(s, t)
    assert proved.bar == brute_force(form, seen, 0.05)


def test_proved_never_goes_back() -> None:
    proved = Proved(RATIO, RATIO.grid(), 0.05)
    for _ in range(300):
        proved.add(1.0, 1.0)
    high = proved.bar
    assert high is not None and high > 0.97
    for _ in range(300):
        proved.add(0.0, 1.0)
    assert proved.bar == high


def test_proved_refuses_the_state_of_another_form() -> None:
    with pytest.raises(EvidenceError, match="margin"):
        Proved.restore(Form("margin", 0.05), Proved(RATIO, RATIO.grid(), 0.05).state())


def test_pairs_needed() -> None:
    assert pairs_needed(math.log(10), 100, 0.05) == math.ceil(math.log(2) / (math.log(10) / 100))
    assert pairs_needed(math.log(21), 100, 0.05) == 0
    assert pairs_needed(-0.1, 100, 0.05) is None
    assert pairs_needed(0.0, 0, 0.05) is None


def test_anytime_p() -> None:
    assert anytime_p(math.log(20)) == pytest.approx(0.05)
    assert anytime_p(-1.0) == 1.0


def test_tipping_point_counts_lost_pairs() -> None:
    bets = Bets(0.95)
    for _ in range(200):
        bets.update(0.05)
    count = tipping_point(bets.log_wealth, 0.05)
    for _ in range(count - 1):
        bets.update(-0.95)
    assert bets.log_value >= math.log(20)
    assert bets.update(-0.95) < math.log(20)
    assert tipping_point(Bets(0.95).log_wealth, 0.05) == 0


def test_detection_is_near_the_simulated_delay() -> None:
    # Drops of 10 and of 20 points took 348 and 108 pairs in simulation, with correlated scores.
    assert 348 < detection_pairs(RATIO, 0.81, 0.92, 20_000) < 2 * 348
    assert 108 < detection_pairs(RATIO, 0.71, 0.92, 20_000) < 2 * 108
    assert detection_pairs(RATIO, 0.91, 0.92, 20_000) == math.inf


def test_smallest_detectable_shrinks_with_traffic() -> None:
    drops = [smallest_detectable(RATIO, 0.91, 0.92, 20_000, n) for n in (100, 500, 5_000)]
    assert None not in drops and drops == sorted(drops, reverse=True)  # type: ignore[type-var]
    assert smallest_detectable(RATIO, 0.91, 0.92, 20_000, 5) is None
