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
from traces.store.errors import DiskFullError

#: a request that is still open reports itself after one second; the rest is for a busy machine
_UNREPORTED_S = 2.0


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """How far the log has been read."""

    #: everything before this moment (Unix seconds) is in the store, but for requests that are open
    #: still; 0: nothing has been read since control started
    collected_to: float = 0.0
    #: route -> just before the start of its oldest open request, Unix seconds
    open_from: Mapping[str, float] = {}

    def to(self, route: str) -> float:
        """All requests of a route that began before this moment (Unix seconds) are in the store.

        A request that takes minutes holds up the evidence of its own route, and no other.
        """
        return min(self.collected_to, self.open_from.get(route, math.inf))


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
        self._collector = Collector(store, spool, context, min_free_bytes=min_free_bytes)
        self._counts = CollectorStatus()
        #: after the last pass that stored all there was
        self.known = Known()
        #: why nothing is stored at present; None: the disk has room
        self.disk_full: str | None = None

    def known_to(self, route: str) -> float:
        """As `Known.to`, now."""
        return self.known.to(route)

    @property
    def collected_to(self) -> float:
        """As `Known.collected_to`, now."""
        return self.known.collected_to

    @property
    def gaps(self) -> int:
        """Gaps in the log that were stored since the start."""
        return self._counts.gaps

    @property
    def status(self) -> CollectorStatus:
        """Counters since the start, and what waits in the spool."""
        return msgspec.structs.replace(
            self._counts,
            spool_bytes=self._collector.waiting_bytes(),
            known_to=self.known.collected_to,
        )

    def step(self) -> None:
        """Store what there is, then move `known`."""
        began = time.time()
        try:
            while self._store_some():
                pass
        except DiskFullError as error:
            self.disk_full = str(error)
            raise
        self.disk_full = None
        self._know(began)

    def drain(self) -> None:
        """Store everything: the gateways are gone."""
        while True:
            step = self._collector.step()
            self._count(step)
            if not (step.more or step.frames):
                break

    def _store_some(self) -> bool:
        """Whether there is more to read at once."""
        step = self._collector.step()
        self._count(step)
        return step.more

    def _know(self, began: float) -> None:
        oldest = self._store.all("oldest_open", _Oldest)
        self.known = Known(
            collected_to=began - _UNREPORTED_S,
            open_from={one.route: one.ts - 1e-6 for one in oldest},
        )

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
