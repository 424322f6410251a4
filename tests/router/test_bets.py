from __future__ import annotations

import csv
import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.bets import AVAILABILITY, QUALITY, Bets, BetsState
from router.errors import EvidenceError
from tests.shared import shared

outcomes = st.lists(st.floats(-0.95, 1.0), min_size=1, max_size=60)


def run(values: list[float], b: float, *, restart: bool = False) -> Bets:
    bets = Bets(b, restart=restart)
    for value in values:
        bets.update(value)
    return bets


@pytest.mark.parametrize(
    ("form", "values", "b", "log_e"),
    [
        ("ratio .95, gate", [0.05, -0.95, 1.0], 0.95, -0.199790328333),
        ("ratio .95, futility", [-0.05, 0.95, -1.0], 1.0, -0.240763943177),
        ("margin .05, gate", [0.05, -0.95, 1.05], 0.95, -0.190937228919),
        ("margin .05, futility", [-0.05, 0.95, -1.05], 1.05, -0.247920837142),
        ("absolute .80, gate", [0.2, 0.2, -0.8], 0.8, -0.305096485036),
        ("absolute .80, futility", [-0.2, -0.2, 0.8], 0.2, -0.128810999793),
    ],
)
def test_worked_examples(form: str, values: list[float], b: float, log_e: float) -> None:
    assert run(values, b).log_value == pytest.approx(log_e, abs=1e-9), form


def test_the_wrong_bound_refuses_the_third_pair_of_the_margin_form() -> None:
    bets = run([-0.05, 0.95], 1.0)
    before = bets.state()
    with pytest.raises(EvidenceError, match="below"):
        bets.update(-1.05)
    assert bets.state() == before


@pytest.mark.parametrize("name", ["vectors_binary.csv", "vectors_judge.csv"])
def test_vectors_of_gate_and_futility(name: str) -> None:
    good, bad = Bets(0.95), Bets(1.0)
    with shared("vectors", name).open() as file:
        for row in csv.DictReader(file):
            d = float(row["student"]) - 0.95 * float(row["teacher"])
            assert good.update(d) == pytest.approx(float(row["logE_grid8"]), abs=1e-9)
            assert bad.update(-d) == pytest.approx(float(row["logE_futility_grid8"]), abs=1e-9)
    assert good.n == 400


def test_vectors_of_one_constant_bet() -> None:
    bets = Bets(0.95, fractions=(0.5,))
    with shared("vectors", "vectors_constant_bet.csv").open() as file:
        for row in csv.DictReader(file):
            value = bets.update(float(row["D"]))
            assert value == pytest.approx(float(row["logK_confseq"]), abs=1e-9)


def test_vectors_of_the_detector() -> None:
    guard = Bets(1.0, restart=True)
    with shared("vectors", "vectors_guard.csv").open() as file:
        for row in csv.DictReader(file):
            value = guard.update(0.95 * float(row["teacher"]) - float(row["student"]))
            assert value == pytest.approx(math.log(float(row["e_sr"])), abs=1e-9)


def test_fractions() -> None:
    assert QUALITY[0] == 0.05 and QUALITY[-1] == pytest.approx(0.95) and len(QUALITY) == 8
    assert AVAILABILITY[0] == 0.002 and AVAILABILITY[-1] == pytest.approx(0.1)


@given(outcomes)
def test_e_does_not_depend_on_order(values: list[float]) -> None:
    forward, backward = run(values, 0.95), run(values[::-1], 0.95)
    assert forward.log_value == pytest.approx(backward.log_value, abs=1e-9)


@given(outcomes, st.booleans(), st.integers(0, 60))
@settings(max_examples=50)
def test_save_and_load_mid_stream_is_exact(values: list[float], restart: bool, cut: int) -> None:
    whole = run(values, 0.95, restart=restart)
    first = run(values[:cut], 0.95, restart=restart)
    text = msgspec.json.encode(first.state())
    loaded = Bets.restore(msgspec.json.decode(text, type=BetsState))
    for value in values[cut:]:
        loaded.update(value)
    assert loaded.state() == whole.state()


def test_a_fresh_detector_has_no_infinity_in_its_state() -> None:
    state = Bets(1.0, restart=True).state()
    assert state.log_max is None and set(state.log_wealth) == {None}
    assert b"null" in msgspec.json.encode(state)


@given(outcomes, st.floats(0.01, 1.0))
def test_a_weight_is_a_smaller_outcome(values: list[float], weight: float) -> None:
    weighted = Bets(0.95)
    for value in values:
        weighted.update(value, weight)
    assert weighted.log_value == pytest.approx(run([weight * v for v in values], 0.95).log_value)


@pytest.mark.parametrize("y", [math.nan, math.inf, -math.inf, -0.96])
def test_bad_outcomes_are_refused(y: float) -> None:
    bets = Bets(0.95)
    with pytest.raises(EvidenceError):
        bets.update(y)
    assert bets.n == 0


@pytest.mark.parametrize("weight", [0.0, -0.1, 1.01, math.nan])
def test_bad_weights_are_refused(weight: float) -> None:
    with pytest.raises(EvidenceError, match="pair weight"):
        Bets(1.0).update(0.5, weight)


@pytest.mark.parametrize("b", [0.0, -1.0, math.nan, math.inf])
def test_bad_bounds_are_refused(b: float) -> None:
    with pytest.raises(EvidenceError, match="b is"):
        Bets(b)


@pytest.mark.parametrize("fractions", [(), (0.0, 0.5), (0.5, 1.0)])
def test_bad_fractions_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(EvidenceError, match="fractions"):
        Bets(1.0, fractions=fractions)


def test_a_state_with_missing_wealths_is_refused() -> None:
    state = msgspec.structs.replace(Bets(1.0).state(), log_wealth=(0.0,))
    with pytest.raises(EvidenceError, match="wealths"):
        Bets.restore(state)
