"""What an answer costs. An unknown price or token count gives None, never 0. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """US dollars per million tokens."""

    input_per_m: float
    output_per_m: float


#: upstream -> model -> price
Prices = Mapping[str, Mapping[str, Price]]


def cost_usd(price: Price | None, tokens_in: int | None, tokens_out: int | None) -> float | None:
    """Return the cost of one answer in US dollars, None if anything about it is unknown."""
    if price is None or tokens_in is None or tokens_out is None:
        return None
    return (tokens_in * price.input_per_m + tokens_out * price.output_per_m) / 1e6


def price_of(prices: Prices, upstream: str, model: str) -> Price | None:
    """Return the price of a model at an upstream."""
    return prices.get(upstream, {}).get(model)
