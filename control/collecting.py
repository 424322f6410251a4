"""Runs the collector, and says up to which moment every request is known."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from control.compile import host_upstream, teacher_target
from control.config.values import Config
from control.config.values import Price as ConfigPrice
from control.secrets import Secrets
from control.status import CollectorStatus
from traces.decode import CollectorContext
from traces.prices import Price
from traces.store import Store
from traces.store.collector import Collector, CollectorStep

#: a request that is still open reports itself after one second; the rest is for a busy machine
_UNREPORTED_S = 2.0


class _Oldest(msgspec.Struct, frozen=True, kw_only=True):
    route: str
    ts: float


class Collecting:
    """The collector with its counters. One thread at a time."""

    def __init__(
        self,
        store: Store,
        spool: Path,
        context: CollectorContext,
        *,
        min_free_bytes: int | None = None,
    ) -> None:
        self._store = store
        self._spool = spool
        self._collector = Collector(store, spool, context, min_free_bytes=min_free_bytes)
        self._counts = CollectorStatus()
        #: route -> just before the start of its oldest open request, Unix seconds
        self._open: dict[str, float] = {}

    def known_to(self, route: str) -> float:
        """All requests of a route that began before this moment (Unix seconds) are in the store.

        A request that takes minutes holds up the evidence of its own route, and no other.
        """
        return min(self._counts.known_to, self._open.get(route, math.inf))

    @property
    def status(self) -> CollectorStatus:
        """Counters since the start, and what waits in the spool."""
        return msgspec.structs.replace(self._counts, spool_bytes=_size(self._spool))

    def step(self) -> None:
        """Store what there is, then move `known_to`."""
        began = time.time()
        while True:
            step = self._collector.step()
            self._count(step)
            if not step.more:
                break
        self._know(began)

    def drain(self) -> None:
        """Store everything: the gateways are gone."""
        while True:
            step = self._collector.step()
            self._count(step)
            if not (step.more or step.frames):
                break

    def _know(self, began: float) -> None:
        self._open = {
            oldest.route: oldest.ts - 1e-6 for oldest in self._store.all("oldest_open", _Oldest)
        }
        self._counts = msgspec.structs.replace(self._counts, known_to=began - _UNREPORTED_S)

    def _count(self, step: CollectorStep) -> None:
        counted = {
            name: getattr(self._counts, name) + getattr(step, name)
            for name in step.__struct_fields__
            if hasattr(self._counts, name)
        }
        self._counts = msgspec.structs.replace(self._counts, **counted)


def collector_context(config: Config, secrets: Secrets) -> CollectorContext:
    """What decoding a frame needs: salts, and prices under the upstreams' names in the traces."""
    prices: dict[str, dict[str, Price]] = {
        name: _prices(upstream.prices) for name, upstream in config.upstreams.items()
    }
    for route in config.routes.values():
        price = config.upstreams[route.lm.upstream].prices.get(route.lm.model)
        if not route.plain and price is not None:
            # A program's answer reports the tokens of all its calls to the one LM.
            model = teacher_target(route).model
            prices[host_upstream(route.name, "teacher")] = {model: _price(price)}
    return CollectorContext(
        hmac_key=secrets.hmac_key.encode(),
        bucket_salt=secrets.bucket_salt,
        prices=prices,
        student_prices={name: _price(r.student_price) for name, r in config.routes.items()},
    )


def _prices(prices: Mapping[str, ConfigPrice]) -> dict[str, Price]:
    return {model: _price(price) for model, price in prices.items()}


def _price(price: ConfigPrice) -> Price:
    return Price(input_per_m=price.input_per_m, output_per_m=price.output_per_m)


def _size(folder: Path) -> int:
    total = 0
    for path in folder.glob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # the collector was faster
    return total
