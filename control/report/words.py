"""How figures are written in a report: one place, so that they look alike everywhere. Pure."""

from __future__ import annotations

import math
from datetime import UTC, datetime


def score(value: float | None) -> str:
    """A score, an interval's end or a share of answers: three digits."""
    return "-" if value is None else f"{value:.3f}"


def interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def e_value(log: float | None) -> str:
    """exp(log) for people, however large or small."""
    if log is None or log == -math.inf:
        return "0"
    if abs(log) > math.log(1e6):
        return f"10^{log / math.log(10):.1f}"
    return f"{math.exp(log):.3g}"


def milliseconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.0f} ms"


def dollars(value: float | None) -> str:
    """An amount in US dollars; unknown is unknown, never 0."""
    if value is None:
        return "unknown"
    if value == 0:
        return "$0"
    if abs(value) < 0.0001:
        return "under $0.0001"
    return f"${value:,.2f}" if abs(value) >= 0.095 else f"${value:.4f}"


def moment(ts: float) -> str:
    """Unix seconds as UTC, to the second."""
    return datetime.fromtimestamp(ts, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")


def plural(n: int, word: str) -> str:
    return f"{n:,} {word}" if n == 1 else f"{n:,} {word}s"
