"""From a snapshot to something that can be asked. Keeps connections over a change of snapshots."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping

import msgspec

from gateway.errors import SnapshotError
from gateway.in_force import Endpoint, InForce, RouteInForce
from gateway.upstream.address import Address, clean_key, parse_base_url
from gateway.upstream.client import Client
from gateway.wheel import Wheel
from router.snapshot import SCHEMA, Override, Snapshot, Target, Upstream

#: the key between limbeck's own processes
INTERNAL_KEY_ENV = "LIMBECK_INTERNAL_KEY"

#: name, base URL and key of an upstream -> its client
_Clients = dict[tuple[str, str, str | None], Client]

logger = logging.getLogger(__name__)
_decode = msgspec.json.Decoder(Snapshot).decode


def parse_snapshot(data: bytes) -> Snapshot:
    """Read a snapshot file's bytes; raise `SnapshotError`."""
    try:
        schema = msgspec.json.decode(data, type=_Schema).schema
        if schema != SCHEMA:
            raise SnapshotError(f"schema {schema} is not known to this version ({SCHEMA} is)")
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SnapshotError(str(error)) from error


class _Schema(msgspec.Struct):
    schema: int = SCHEMA


class Compiler:
    """Compiles snapshots, and owns the clients of all upstreams."""

    def __init__(
        self, wheel: Wheel, environ: Mapping[str, str], *, keys_needed: bool = False
    ) -> None:
        """``keys_needed``: other machines reach this worker, so apps must have keys."""
        self._wheel = wheel
        self._environ = environ
        self._keys_needed = keys_needed
        self._clients: _Clients = {}

    @property
    def clients(self) -> Iterable[Client]:
        """The clients of the last compiled snapshot."""
        return self._clients.values()

    def compile(self, snapshot: Snapshot, overrides: dict[str, Override]) -> InForce:
        """Compile a snapshot; raise `SnapshotError` for one that can't be served."""
        clients: _Clients = {}
        try:
            in_force = self._compile(snapshot, overrides, clients)
        except SnapshotError:
            _retire(clients, self._clients)
            raise
        _retire(self._clients, clients)
        self._clients = clients
        return in_force

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(client.close() for client in self._clients.values()))

    def _compile(
        self, snapshot: Snapshot, overrides: dict[str, Override], clients: _Clients
    ) -> InForce:
        if self._keys_needed and not snapshot.keys:
            raise SnapshotError(
                "it holds no keys, and this worker listens beyond its own machine: add [gateway]"
                " keys, or listen on 127.0.0.1"
            )
        upstreams = {
            name: self._endpoint(name, upstream, clients)
            for name, upstream in snapshot.upstreams.items()
        }
        models: dict[str, tuple[RouteInForce, str | None]] = {}
        for name, route in snapshot.routes.items():
            students = {
                student.student: _named(upstreams, student.target, route=name)
                for student in route.students
            }
            compiled = RouteInForce(
                name=name,
                route=route,
                teacher=_named(upstreams, route.teacher, route=name),
                students=students,
                weighted=any(student.weight > 0 for student in route.students),
            )
            models[name] = (compiled, None)
            for pin in ("teacher", *students):
                models[f"{name}@{pin}"] = (compiled, pin)
        passthrough = None
        if snapshot.passthrough is not None:
            if snapshot.passthrough not in upstreams:
                raise SnapshotError(f"passthrough upstream {snapshot.passthrough!r} is not defined")
            passthrough = upstreams[snapshot.passthrough]
        return InForce(
            snapshot=snapshot, models=models, passthrough=passthrough, overrides=overrides
        )

    def _endpoint(self, name: str, upstream: Upstream, clients: _Clients) -> Endpoint:
        env = upstream.api_key_env or (INTERNAL_KEY_ENV if upstream.internal else None)
        api_key, no_key = (None, None) if env is None else self._key(env)
        identity = (name, upstream.base_url, api_key)
        client = self._clients.get(identity)
        if client is None:
            client = Client(name, _address(name, upstream.base_url), api_key, self._wheel)
            if no_key is not None:
                logger.warning(
                    "upstream %r: %s; its requests fail with 502 until the worker is started with"
                    " its key",
                    name,
                    no_key,
                )
        clients[identity] = client
        return Endpoint(
            upstream=name,
            model="",
            spelled=None,
            client=client,
            internal=upstream.internal,
            no_key=no_key,
        )

    def _key(self, env: str) -> tuple[str | None, str | None]:
        """Return the key in an environment variable, or why there is none."""
        try:
            key = clean_key(self._environ.get(env, ""))
        except ValueError as error:
            return None, f"the environment variable {env} {error}"
        return (key, None) if key else (None, f"the environment variable {env} is not set")


def _address(upstream: str, base_url: str) -> Address:
    try:
        return parse_base_url(base_url)
    except ValueError as error:
        raise SnapshotError(f"upstream {upstream!r}: base_url {base_url!r}: {error}") from error


def _retire(clients: _Clients, kept: _Clients) -> None:
    for identity, client in clients.items():
        if identity not in kept:
            client.retire()


def _named(upstreams: dict[str, Endpoint], target: Target, *, route: str) -> Endpoint:
    endpoint = upstreams.get(target.upstream)
    if endpoint is None:
        raise SnapshotError(f"route {route!r}: upstream {target.upstream!r} is not defined")
    return Endpoint(
        upstream=endpoint.upstream,
        model=target.model,
        spelled=msgspec.json.encode(target.model),
        client=endpoint.client,
        internal=endpoint.internal,
        no_key=endpoint.no_key,
    )
