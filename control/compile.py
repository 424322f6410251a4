"""Configuration + rollouts + addresses -> snapshot. Pure: no files, no clock, no environment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from control.addresses import Addresses
from control.config.values import Config, RouteConfig
from control.secrets import INTERNAL_KEY_ENV
from router.snapshot import AppKey, Route, Snapshot, StudentRoute, Target, Upstream

#: the internal upstream that serves the students of plain routes
STUDENTS = "students"
#: a student's deadline in teacher p95s, and without a p95 yet, seconds
DEADLINE_FACTOR = 1.5
DEADLINE_S = 10.0


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """One student's share of a route, as its rollout has it."""

    student: str
    stage: str
    weight: float = 0.0
    #: Unix seconds; None while the weight is 0
    valid_until: float | None = None


class RouteState(msgspec.Struct, frozen=True, kw_only=True):
    """What control knows about a route beyond its configuration."""

    #: newest first
    shares: tuple[Share, ...] = ()
    #: seconds; None: not measured yet
    teacher_p95_s: float | None = None
    program_version: str = ""
    metric_hash: str = ""
    #: id of the last override that the rollouts have folded
    folded_override: str | None = None


def host_upstream(route: str, side: str) -> str:
    """Name of the upstream of a program host; ``side``: teacher or student."""
    return f"host.{route}.{side}"


def teacher_target(route: RouteConfig) -> Target:
    """Where a route's teacher answers."""
    if route.plain:
        return route.lm
    return Target(upstream=host_upstream(route.name, "teacher"), model=f"{route.name}@teacher")


def student_target(route: RouteConfig, student: str) -> Target:
    """Where a route's student answers."""
    if route.plain:
        return Target(upstream=STUDENTS, model=f"{route.name}.answer@{student}")
    return Target(upstream=host_upstream(route.name, "student"), model=f"{route.name}@{student}")


def compile_snapshot(
    config: Config,
    states: Mapping[str, RouteState],
    addresses: Addresses,
    *,
    keys: Mapping[str, str],
    salt: str,
    version: int,
    epoch: int,
) -> Snapshot:
    """Build the snapshot. ``keys``: name of the app -> the key itself (only its hash is kept)."""
    return Snapshot(
        version=version,
        epoch=epoch,
        config_hash=config.hash,
        keys={
            # Without the newline that a mounted secret ends with: no app can send it.
            hashlib.sha256(secret.strip().encode()).hexdigest(): AppKey(
                name=name, may_pin=config.gateway.keys[name].may_pin
            )
            for name, secret in keys.items()
        },
        upstreams=_upstreams(config, addresses),
        routes={
            name: _route(route, states.get(name, RouteState()), salt)
            for name, route in config.routes.items()
        },
        passthrough=config.gateway.passthrough,
    )


def _upstreams(config: Config, addresses: Addresses) -> dict[str, Upstream]:
    upstreams = {
        name: Upstream(base_url=upstream.base_url, api_key_env=upstream.api_key_env)
        for name, upstream in config.upstreams.items()
    }
    inside = {STUDENTS: addresses.student_server}
    for route in config.routes.values():
        if not route.plain:
            for side in ("teacher", "student"):
                inside[host_upstream(route.name, side)] = addresses.host(route.name, side)
    for name, address in inside.items():
        upstreams[name] = Upstream(
            base_url=f"{address.url}/v1", api_key_env=INTERNAL_KEY_ENV, internal=True
        )
    return upstreams


def _route(route: RouteConfig, state: RouteState, salt: str) -> Route:
    deadline_s = DEADLINE_S
    if state.teacher_p95_s is not None:
        deadline_s = DEADLINE_FACTOR * state.teacher_p95_s
    return Route(
        teacher=teacher_target(route),
        students=tuple(
            StudentRoute(
                student=share.student,
                target=student_target(route, share.student),
                stage=share.stage,
                weight=share.weight,
                valid_until=share.valid_until,
            )
            for share in state.shares
        ),
        holdout=route.policy.rollout.holdout,
        salt=salt,
        audit_rate=route.policy.shadow.audit_rate,
        student_deadline_s=min(deadline_s, route.deadline_s),
        deadline_s=route.deadline_s,
        replayable=route.plain or route.pure,
        program_version=state.program_version,
        metric_hash=state.metric_hash,
        folded_override=state.folded_override,
    )
