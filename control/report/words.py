"""How figures are written, in reports and in the demo: one place, so that they look alike. Pure."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from control.counting import plural as plural
from router.verdicts import amount


def score(value: float | None) -> str:
    """A score, an interval's end or a share of answers: three digits."""
    return "-" if value is None else f"{value:.3f}"


def interval(low: float | None, high: float | None) -> str:
    """An interval of scores."""
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def e_value(log: float | None) -> str:
    """exp(log) for people, however large or small."""
    if log is None or log == -math.inf:
        return "0"
    return amount(log) if log > -math.log(1e4) else f"10^{log / math.log(10):.1f}"


def milliseconds(value: float | None) -> str:
    """A duration; from a second on in seconds."""
    if value is None:
        return "-"
    return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.0f} ms"


def duration(seconds: float | None) -> str:
    """As `milliseconds`."""
    return milliseconds(None if seconds is None else seconds * 1000)


def dollars(value: float | None) -> str:
    """An amount in US dollars; unknown is unknown, never 0."""
    if value is None:
        return "unknown"
    sign, size = ("-" if value < 0 else ""), abs(value)
    if size == 0:
        return "$0"
    if size < 0.0001:
        return "under $0.0001" if value > 0 else "-$0.0001 or less"
    return f"{sign}${size:,.2f}" if size >= 0.095 else f"{sign}${size:.4f}"


def per_1000(cost_usd: float | None) -> str:
    """The cost of 1,000 requests of which one costs this much."""
    return dollars(None if cost_usd is None else cost_usd * 1000)


def spent(known: float | None, unknown: int) -> str:
    """A sum of which ``unknown`` parts have no price."""
    if not unknown:
        return "-" if known is None else dollars(known)
    return f"at least {dollars(known)}" if known else "unknown"


def percent(share: float) -> str:
    """A share, 0..1."""
    return f"{share * 100:.3g} %"


def moment(ts: float) -> str:
    """Unix seconds as UTC, to the second."""
    return datetime.fromtimestamp(ts, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
