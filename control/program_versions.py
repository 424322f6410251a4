"""Which version of its program each route runs, asked of the program hosts."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Mapping

import httpx
import msgspec

from control.addresses import Addresses
from control.config.values import RouteConfig
from control.secrets import INTERNAL_KEY_ENV
from programs.description import ProgramDescription
from traces.store import Store

_log = logging.getLogger("limbeck.control")
_TIMEOUT_S = 5.0
#: a host that is silent so often in a row is no host that is being started
_SILENT_POLLS = 3


class _Seen(msgspec.Struct, frozen=True, kw_only=True):
    program_version: str
    body: str


class ProgramVersions:
    """Remembers each version in DuckDB when it is first seen."""

    def __init__(
        self,
        store: Store,
        client: httpx.AsyncClient,
        *,
        routes: Mapping[str, RouteConfig],
        addresses: Callable[[], Addresses],
        environment: Mapping[str, str],
    ) -> None:
        self._store = store
        self._client = client
        self._routes = routes
        self._addresses = addresses
        self._environment = environment
        self._described: dict[str, ProgramDescription] = {}
        #: route -> how often in a row its host was silent
        self._silent: dict[str, int] = {}
        for name, route in routes.items():
            if not route.plain:
                seen = store.one("latest_program_version", _Seen, route=name)
                if seen is not None:
                    self._described[name] = msgspec.json.decode(seen.body, type=ProgramDescription)

    def description(self, route: str) -> ProgramDescription | None:
        """The program of a route; None for a plain route, and before its host has answered once."""
        return self._described.get(route)

    def version(self, route: str) -> str:
        """The version in force; empty while it is not known."""
        config = self._routes[route]
        if config.plain:
            # The app writes the prompts of a plain route: its version is that of its teacher.
            teacher = f"{config.lm.upstream}/{config.lm.model}"
            return f"plain-{hashlib.sha256(teacher.encode()).hexdigest()[:12]}"
        described = self._described.get(route)
        return described.program_version if described else ""

    def problems(self) -> tuple[str, ...]:
        """The routes whose teacher can't answer, as its host is silent."""
        return tuple(
            f"route {name}: the program host of its teacher does not answer, so neither does the "
            f"route; its log says why: program-host.{name}.teacher.log"
            for name, times in self._silent.items()
            if times >= _SILENT_POLLS
        )

    async def poll(self) -> None:
        """Ask the teacher's side of every program host; one that is silent changes nothing."""
        for name, route in self._routes.items():
            if not route.plain:
                described = await self._ask(name)
                if described is None:
                    self._silent[name] = self._silent.get(name, 0) + 1
                else:
                    self._silent.pop(name, None)
                    await asyncio.to_thread(self._remember, name, described)

    async def _ask(self, route: str) -> ProgramDescription | None:
        address = self._addresses().host(route, "teacher")
        key = self._environment.get(INTERNAL_KEY_ENV, "")
        try:
            response = await self._client.get(
                f"{address.url}/v1/program",
                headers={"authorization": f"Bearer {key}"},
                timeout=_TIMEOUT_S,
            )
            response.raise_for_status()
            return msgspec.json.decode(response.content, type=ProgramDescription)
        except (httpx.HTTPError, msgspec.MsgspecError) as error:
            _log.debug("program host of %s: %s", route, error)
            return None

    def _remember(self, route: str, described: ProgramDescription) -> None:
        before = self._described.get(route)
        if before is not None and before.program_version == described.program_version:
            return
        self._store.run(
            "insert_program_version",
            route=route,
            program_version=described.program_version,
            ts_us=round(time.time() * 1e6),
            body=msgspec.json.encode(described).decode(),
        )
        self._described[route] = described
        _log.info("route %s: program version %s", route, described.program_version)
