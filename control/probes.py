"""Asks the servers of the students whether they live."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import httpx

from control.health import HealthWatch
from router.snapshot import Upstream

_TIMEOUT_S = 2.0


class Probes:
    """Probes ``upstreams`` (by name), and tells ``health``."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        health: HealthWatch,
        upstreams: Callable[[], Mapping[str, Upstream]],
    ) -> None:
        self._client = client
        self._health = health
        self._upstreams = upstreams

    async def probe(self) -> None:
        """One probe of each."""
        upstreams = self._upstreams()
        self._health.probing(upstreams)
        await asyncio.gather(*(self._one(name, up) for name, up in upstreams.items()))

    async def _one(self, name: str, upstream: Upstream) -> None:
        url = f"{upstream.base_url.removesuffix('/v1')}/healthz"
        problem = None
        try:
            response = await self._client.get(url, timeout=_TIMEOUT_S)
            if not response.is_success:
                problem = f"{url} answers {response.status_code}"
        except httpx.HTTPError as error:
            problem = f"{url}: {type(error).__name__}"
        self._health.probed(name, problem, now=time.time())
