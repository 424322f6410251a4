"""A configuration without a file: ``limbeck up --teacher UPSTREAM/MODEL``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from control.config.load import parse_config
from control.config.values import Address, Config, GatewayConfig
from control.errors import BadInput
from control.layout import Layout

#: base URLs that need no --base-url
WELL_KNOWN = {"openai": "https://api.openai.com/v1"}
BIND = GatewayConfig().bind
_FOREIGN = re.compile(r"[^a-z0-9._-]+")


def teacher_config(
    teacher: str,
    *,
    base_url: str | None,
    data: Path,
    bind: Address = BIND,
    environment: Mapping[str, str],
) -> Config:
    """One plain route, named after the model. Raises `BadInput` or `ConfigErrors`.

    The key is expected in ``UPSTREAM_API_KEY``; with a base URL of your own it may be absent. With
    ``bind`` the admin API has the port after it, so that two of them fit on one machine.
    """
    upstream, slash, model = teacher.partition("/")
    if not (upstream and slash and model):
        raise BadInput(f'--teacher {teacher}: must be UPSTREAM/MODEL, for example "openai/gpt-5"')
    url = base_url or WELL_KNOWN.get(upstream)
    if url is None:
        raise BadInput(
            f"--teacher {teacher}: the base URL of {upstream} is not known: add --base-url URL "
            f"(known: {', '.join(WELL_KNOWN)})"
        )
    section: dict[str, Any] = {"base_url": url}
    variable = re.sub(r"\W", "_", upstream).upper() + "_API_KEY"
    if base_url is None or environment.get(variable):
        section["api_key"] = f"env::{variable}"
    data = data.absolute()
    document = {
        "gateway": {"bind": str(bind)},
        "control": {"data": str(data), "admin_bind": str(_beside(bind))},
        "upstreams": {upstream: section},
        "routes": {route_name(model): {"teacher": teacher}},
    }
    config = parse_config(
        document,
        file="--teacher",
        path=Layout(data=data).configuration,
        environment=environment,
    )
    return msgspec.structs.replace(config, path=None)


def _beside(bind: Address) -> Address:
    """The admin API's address: on this machine, at the port after the gateway's."""
    port = bind.port + 1 if bind.port < 65_535 else bind.port - 1
    return Address(host="127.0.0.1", port=port)


def route_name(model: str) -> str:
    """The model's name, as far as a route may have it."""
    return _FOREIGN.sub("-", model.lower()).strip("._-") or "teacher"
