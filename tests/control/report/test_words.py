from __future__ import annotations

import math

import pytest

from control.report import words


@pytest.mark.parametrize(
    ("log", "text"),
    [
        (None, "0"),
        (-math.inf, "0"),
        (math.log(0.5), "0.5"),
        (math.log(32.9), "32.9"),
        (math.log(9126), "9,126"),
        (math.log(20_000), "20,000"),
        (math.log(10) * 9.1, "10^9.1"),
        (-math.log(10) * 9.1, "10^-9.1"),
        (math.log(0.00012), "0.00012"),
        (math.log(0.000012), "10^-4.9"),
        (5_000.0, "10^2171.5"),
    ],
)
def test_e_value(log: float | None, text: str) -> None:
    assert words.e_value(log) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "unknown"),
        (0.0, "$0"),
        (0.00001, "under $0.0001"),
        (0.0012, "$0.0012"),
        (0.5, "$0.50"),
        (12_345.678, "$12,345.68"),
        (-0.43, "-$0.43"),
        (-0.00001, "-$0.0001 or less"),
    ],
)
def test_dollars(value: float | None, text: str) -> None:
    assert words.dollars(value) == text


@pytest.mark.parametrize(
    ("known", "unknown", "text"),
    [
        (1.5, 0, "$1.50"),
        (1.5, 2, "at least $1.50"),
        (0.0, 2, "unknown"),
        (None, 2, "unknown"),
        (None, 0, "-"),
        (0.0, 0, "$0"),
    ],
)
def test_spent(known: float | None, unknown: int, text: str) -> None:
    assert words.spent(known, unknown) == text


def test_small_things() -> None:
    assert (words.score(0.92345), words.score(None)) == ("0.923", "-")
    assert words.interval(0.9, 0.95) == "0.900 to 0.950"
    assert words.interval(None, 0.95) == "-"
    assert [words.milliseconds(ms) for ms in (None, 0.4, 999.4, 1_500.0)] == [
        "-", "0 ms", "999 ms", "1.50 s",
    ]  # fmt: skip
    assert [words.duration(s) for s in (None, 0.043, 2.5)] == ["-", "43 ms", "2.50 s"]
    assert words.per_1000(0.001) == "$1.00"
    assert words.per_1000(None) == "unknown"
    assert [words.percent(share) for share in (0.02, 0.997, 1.0)] == ["2 %", "99.7 %", "100 %"]
    assert words.plural(1, "pair") == "1 pair"
    assert words.plural(1_234, "pair") == "1,234 pairs"
    assert words.moment(1_700_000_000.9) == "2023-11-14 22:13:20"
