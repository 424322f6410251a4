"""The configuration in force as TOML text: every default written out, no secret in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from control.config.values import Config, Price, RouteConfig
from router.policy import RolloutPolicy
from router.snapshot import Target

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def to_document(config: Config) -> dict[str, Any]:
    """The sections of the file; reading them again gives an equal configuration."""
    gateway, control = config.gateway, config.control
    return {
        "gateway": {
            "bind": str(gateway.bind),
            "workers": gateway.workers,
            "keys": {
                name: {"key": f"env::{key.env}", "may_pin": key.may_pin}
                for name, key in gateway.keys.items()
            },
            **_given(passthrough=gateway.passthrough),
            "spool_policy": gateway.spool_policy,
            "max_spool_mb": gateway.max_spool_mb,
            **_given(min_free_mb=gateway.min_free_mb),
        },
        "control": {
            "admin_bind": str(control.admin_bind),
            "data": str(control.data),
            "tick_s": control.tick_s,
            "collect_s": control.collect_s,
        },
        "upstreams": {
            name: {
                "base_url": upstream.base_url,
                **_given(api_key=upstream.api_key_env and f"env::{upstream.api_key_env}"),
                "prices": {model: _price(price) for model, price in upstream.prices.items()},
            }
            for name, upstream in config.upstreams.items()
        },
        "routes": {name: _route(route) for name, route in config.routes.items()},
    }


def _route(route: RouteConfig) -> dict[str, Any]:
    policy = route.policy
    answers = {"teacher": _target(route.lm)}
    if route.program is not None:
        answers = {"program": route.program, "lm": _target(route.lm)}
    return {
        **answers,
        **({} if route.plain else {"pure": route.pure, "system": route.system}),
        **_given(metric=route.metric and str(route.metric)),
        "pass_score": route.pass_score,
        "output": route.output,
        "feedback": dict(route.feedback),
        "deadline_s": route.deadline_s,
        "student_price": _price(route.student_price),
        "distill": _given(**msgspec.structs.asdict(route.distill)),
        "shadow": _plain(policy.shadow),
        "rollout": _plain(policy.gate) | _rollout(policy.rollout),
        "guard": _plain(policy.guard),
    }


def _rollout(policy: RolloutPolicy) -> dict[str, Any]:
    keys = _plain(policy)
    steps = {name: keys.pop(name) for name in ("r1", "r5", "r25", "r50")}
    return keys | {"steps": steps}


def _plain(value: msgspec.Struct) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(value)
    return _given(**plain)


def _price(price: Price) -> dict[str, float]:
    return {"input_per_m": price.input_per_m, "output_per_m": price.output_per_m}


def _target(target: Target) -> str:
    return f"{target.upstream}/{target.model}"


def _given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def to_toml(document: Mapping[str, Any]) -> str:
    """Write a document of tables as TOML. Tables down to the third level get a heading."""
    return "\n".join(_table(document, ())).strip("\n") + "\n"


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    inner = {key: value for key, value in table.items() if _has_heading(value, (*path, key))}
    own = {key: value for key, value in table.items() if key not in inner}
    lines: list[str] = []
    if path and (own or not inner):
        lines += ["", f"[{'.'.join(map(_key, path))}]"]
    lines += [f"{_key(key)} = {_value(value)}" for key, value in own.items()]
    for key, value in inner.items():
        lines += _table(value, (*path, key))
    return lines


def _has_heading(value: object, path: tuple[str, ...]) -> bool:
    if not isinstance(value, Mapping):
        return False
    if path[0] in ("gateway", "control"):
        return len(path) == 1
    deep = ("distill", "shadow", "rollout", "guard")
    return len(path) < 3 or (len(path) == 3 and path[0] == "routes" and path[2] in deep)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _text(text: str) -> str:
    return '"' + "".join(_character(character) for character in text) + '"'


def _character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character < " " or character == "\x7f":
        return f"\\u{ord(character):04x}"
    return character


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return _text(str(value))
