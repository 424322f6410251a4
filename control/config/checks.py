"""What one key alone can't show: references between sections, and combinations that can't work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from control.config.policy_sections import Section
from control.config.problems import unknown
from control.config.sections import ControlSection, FileSection, RouteSection
from gateway.loopback import is_loopback
from gateway.upstream.address import clean_key
from router.snapshot import Target

Path = tuple[str, ...]


class Finding(NamedTuple):
    """Something that doesn't fit together."""

    key: Path
    message: str
    #: other keys that the finding rests on: if one of those is wrong itself, this may be no finding
    about: tuple[Path, ...] = ()


def check(file: FileSection) -> Iterator[Finding]:
    """Every finding that needs more than one key."""
    yield from _processes(file)
    passthrough = file.gateway.passthrough
    if passthrough is not None and passthrough not in file.upstreams:
        message = unknown("upstream", passthrough, file.upstreams)
        yield Finding(("gateway", "passthrough"), message, (("upstreams",),))
    if "students" in file.upstreams:
        yield Finding(("upstreams", "students"), "limbeck's own upstream has this name: rename it")
    file_keys = type(file).model_fields
    for name, route in file.routes.items():
        for finding in _route(route, file):
            at: Path = ("routes", name)
            about = tuple(path if path[0] in file_keys else at + path for path in finding.about)
            yield Finding(at + finding.key, finding.message, about)


def unusable_variables(file: FileSection, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Environment variables that the file names and that hold no key that can be used."""
    named: list[tuple[Path, str]] = [
        (("gateway", "keys", name), section.key) for name, section in file.gateway.keys.items()
    ]
    named += [
        (("upstreams", name, "api_key"), section.api_key)
        for name, section in file.upstreams.items()
        if section.api_key is not None
    ]
    for key, variable in named:
        try:
            missing = not clean_key(environment.get(variable, ""))
        except ValueError as error:
            yield Finding(key, f"the environment variable {variable} {error}")
            continue
        if missing:
            yield Finding(
                key, f"the environment variable {variable} is not set: export {variable}=..."
            )
    owners: dict[str, str] = {}
    for name, section in file.gateway.keys.items():
        secret = environment.get(section.key, "").strip()
        if not secret:
            continue
        owner = owners.setdefault(secret, name)
        if owner != name:
            message = f"the same key as that of {owner}: give each app a key of its own"
            yield Finding(("gateway", "keys", name), message)


def _processes(file: FileSection) -> Iterator[Finding]:
    gateway, admin = file.gateway, file.control.admin_bind
    if not is_loopback(gateway.bind.host) and not gateway.keys:
        yield Finding(
            ("gateway", "bind"),
            f"{gateway.bind} is reachable from other machines, and [gateway] keys is empty: "
            'add keys = { app = "env::APP_KEY" }, or bind to 127.0.0.1',
            (("gateway", "keys"),),
        )
    if not is_loopback(admin.host):
        yield Finding(
            ("control", "admin_bind"),
            f"{admin} is reachable from other machines; the admin API stays on this one: "
            "bind to 127.0.0.1",
        )
    if gateway.bind.port == admin.port:
        yield Finding(
            ("control", "admin_bind"),
            f"port {admin.port} is the gateway's too: choose another",
            (("gateway", "bind"),),
        )


def _route(route: RouteSection, file: FileSection) -> Iterator[Finding]:
    """Keys are relative to the route here."""
    yield from _who_answers(route)
    for key, target in (("teacher", route.teacher), ("lm", route.lm)):
        if isinstance(target, Target) and target.upstream not in file.upstreams:
            message = unknown("upstream", target.upstream, file.upstreams)
            yield Finding((key,), message, (("upstreams",),))
    yield from _evidence(route)
    yield from _rollout(route.rollout)
    yield from _leases(route.rollout, file.control)


def _who_answers(route: RouteSection) -> Iterator[Finding]:
    about: tuple[Path, ...] = (("teacher",), ("program",), ("lm",))
    if route.teacher is not None and route.program is not None:
        yield Finding((), "has a teacher and a program: keep exactly one", about)
    elif route.teacher is None and route.program is None:
        message = 'has no teacher: add teacher = "UPSTREAM/MODEL", or program and lm'
        yield Finding((), message, about)
    elif route.program is not None and route.lm is None:
        yield Finding(("lm",), 'missing; a program needs lm = "UPSTREAM/MODEL"', about)
    elif route.program is None and route.lm is not None:
        message = "belongs to a program: remove it, or replace teacher by program"
        yield Finding(("lm",), message, about)
    for key in ("pure", "system"):
        if route.program is None and key in route.model_fields_set:
            yield Finding((key,), "belongs to a program: remove it", about)


def _evidence(route: RouteSection) -> Iterator[Finding]:
    field = route.metric.field if route.metric is not None else None
    if route.program is None and route.output == "text" and field not in (None, "answer"):
        yield Finding(
            ("metric",),
            f'a plain route with output = "text" has one field, "answer", and no "{field}": '
            'use exact_match(answer), or output = "json"',
            (("output",), ("program",)),
        )
    for source, coverage in route.feedback.items():
        if coverage == "audit" and not _value(route.shadow, "audit_rate"):
            yield Finding(
                ("feedback", source),
                'coverage "audit" needs requests in the audit sample: set shadow.audit_rate '
                "above 0",
                (("shadow",),),
            )


def _rollout(rollout: Section) -> Iterator[Finding]:
    about: tuple[Path, ...] = (("rollout",),)
    if _value(rollout, "min_pairs") > _value(rollout, "max_pairs"):
        yield Finding(("rollout", "min_pairs"), "must be at most max_pairs", about)
    if {"margin", "retention"} <= rollout.model_fields_set:
        message = "another form of the bar is retention: keep one of the two"
        yield Finding(("rollout", "margin"), message, about)


def _leases(rollout: Section, control: ControlSection) -> Iterator[Finding]:
    """A lease must outlive one renewal that comes late, or the weight comes and goes."""
    age_s = _value(rollout, "lease_renew_s") + control.tick_s + control.collect_s
    for lease in ("lease_s", "live_lease_s"):
        if 2 * age_s > _value(rollout, lease):
            yield Finding(
                ("rollout", lease),
                f"{_value(rollout, lease):g} s is too short: a renewal takes up to {age_s:g} s "
                "(lease_renew_s + control.tick_s + control.collect_s), and a lease must last twice "
                "as long; raise it, or lower one of the three",
                (("rollout",), ("control",)),
            )


def _value(section: Section, key: str) -> float:
    value = getattr(section, key)
    assert isinstance(value, int | float), key
    return value
