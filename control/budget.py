"""What replays may cost in a day (UTC), and why there may be none at all."""

from __future__ import annotations

import msgspec

from control.config.values import Price, RouteConfig
from traces.store import Store

_DAY_US = 86_400_000_000


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """Costs of a route's replays since midnight."""

    usd: float
    #: replays whose cost nobody knows
    unknown: int


def spent_today(store: Store, route: str, *, now: float) -> Spent:
    """What the replays of ``route`` have cost since midnight UTC."""
    now_us = int(now * 1_000_000)
    spent = store.one("spent_on_replays", Spent, route=route, after_us=now_us - now_us % _DAY_US)
    return spent or Spent(usd=0.0, unknown=0)


def why_paused(route: RouteConfig, spent_usd: float) -> str | None:
    """Why no request of ``route`` may be replayed now; None: they may.

    ``spent_usd``: what its replays have cost since midnight UTC.
    """
    limit = route.policy.shadow.daily_budget_usd
    if route.metric is None:
        return "the route has no metric: nothing can be scored"
    if not (route.plain or route.pure):
        return "the program is not marked pure: a replay could run its tools again"
    if spent_usd >= limit:
        return f"the daily budget is used up: {spent_usd:.2f} of {limit:.2f} USD since midnight UTC"
    return None


def cost(price: Price | None, *, tokens_in: int, tokens_out: int) -> float | None:
    """USD for one answer; None: the price is unknown."""
    if price is None:
        return None
    return (price.input_per_m * tokens_in + price.output_per_m * tokens_out) / 1_000_000
