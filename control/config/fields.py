"""Types of single values in ``limbeck.toml``: addresses, secrets, names, references."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from control.config.values import Address, Metric, parse_address
from gateway.upstream.address import parse_base_url
from router.snapshot import Target

_SECRET = re.compile(r"env::([A-Za-z_][A-Za-z0-9_]*)")
_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_EXACT_MATCH = re.compile(r"exact_match\(\s*([A-Za-z_]\w*)\s*\)")
_SYSTEM = re.compile(r"reject|ignore|field:[A-Za-z_]\w*")
_ROUTE = re.compile(r"[a-z0-9][a-z0-9._-]*")
_PLAIN_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("limbeck", "{message}", {"message": message})


def _address(value: object) -> object:
    if not isinstance(value, str):
        raise _wrong('must be "HOST:PORT" in quotes')
    try:
        return parse_address(value)
    except ValueError as error:
        raise _wrong(str(error)) from None


def read_secret(value: object) -> str:
    """The name of the variable in ``env::NAME``; the error never shows the value."""
    match = _SECRET.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _wrong(
            'must be "env::NAME", the name of an environment variable; a secret in the file is '
            "refused (its value is not shown here): move it into the environment"
        )
    return match[1]


def _target(value: object) -> object:
    upstream, slash, model = value.partition("/") if isinstance(value, str) else ("", "", "")
    if not (upstream and slash and model):
        raise _wrong('must be "UPSTREAM/MODEL", for example "openai/gpt-5"')
    return Target(upstream=upstream, model=model)


def _metric(value: object) -> object:
    text = value.strip() if isinstance(value, str) else ""
    if match := _EXACT_MATCH.fullmatch(text):
        return Metric(field=match[1])
    if _FUNCTION.fullmatch(text):
        return Metric(function=text)
    raise _wrong('must be "module:function" or "exact_match(FIELD)"')


def _function(value: str) -> str:
    if not _FUNCTION.fullmatch(value):
        raise _wrong('must be "module:factory", for example "app.triage:build"')
    return value


def _system(value: str) -> str:
    if not _SYSTEM.fullmatch(value):
        raise _wrong('must be "reject", "ignore" or "field:NAME", an input of the program')
    return value


def _base_url(value: str) -> str:
    try:
        parse_base_url(value)
    except ValueError as error:
        raise _wrong(str(error)) from None
    url = urlsplit(value)
    if url.username or url.password or url.query or url.fragment:
        raise _wrong("must hold no user, password or query; a key belongs into api_key")
    return value.rstrip("/")


def _route_name(value: str) -> str:
    if not _ROUTE.fullmatch(value):
        raise _wrong(
            "a route's name consists of a-z, 0-9, '.', '_' and '-', and starts with a letter or "
            "digit ('@' separates the student): rename it"
        )
    return value


def _plain_name(value: str) -> str:
    if not _PLAIN_NAME.fullmatch(value):
        raise _wrong("this name consists of a-z, 0-9, '_' and '-': rename it")
    return value


def _cron(value: str) -> str:
    # Only here: a gateway worker that reads an address must not load the scheduler.
    from apscheduler.triggers.cron import CronTrigger

    try:
        CronTrigger.from_crontab(value, timezone="UTC")
    except ValueError as error:
        raise _wrong(
            f'must be a cron line of five fields (UTC), for example "0 3 * * *": {error}'
        ) from None
    return value


AddressField = Annotated[Address, BeforeValidator(_address)]
SecretField = Annotated[str, BeforeValidator(read_secret)]
TargetField = Annotated[Target, BeforeValidator(_target)]
MetricField = Annotated[Metric, BeforeValidator(_metric)]
FunctionField = Annotated[str, AfterValidator(_function)]
SystemField = Annotated[str, AfterValidator(_system)]
BaseUrlField = Annotated[str, AfterValidator(_base_url)]
CronField = Annotated[str, AfterValidator(_cron)]
RouteName = Annotated[str, AfterValidator(_route_name)]
PlainName = Annotated[str, AfterValidator(_plain_name)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]
