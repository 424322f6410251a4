"""Read ``limbeck.toml`` and check all of it: a configuration, or every problem at once."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from control.config.checks import Finding, check, unusable_variables
from control.config.policy_sections import policy
from control.config.problems import ConfigErrors, Problem
from control.config.sections import FileSection, PriceSection, RouteSection
from control.config.translate import KeyPath, dotted, key_path, problems_of
from control.config.values import (
    Config,
    ControlConfig,
    DistillConfig,
    GatewayConfig,
    KeyConfig,
    Price,
    RouteConfig,
    UpstreamConfig,
)

_POSITION = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)


def load_config(path: Path, *, environment: Mapping[str, str] | None) -> Config:
    """Read and check the file. ``environment``: where secrets must be; None: not looked at.

    Raises `ConfigErrors` with every problem.
    """
    return parse_config(
        read_document(path), file=path.name, path=path.absolute(), environment=environment
    )


def read_document(path: Path) -> dict[str, Any]:
    """The file as TOML. Raises `ConfigErrors` for a file that can't be read or is no TOML."""
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        message = f"not found in {path.absolute().parent}: `limbeck init` makes one"
        raise _single(path, "", message) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _single(path, "", f"can't be read: {error}") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _POSITION.fullmatch(str(error))
        what = match[1] if match else str(error)
        where = "at the end of the file"
        if match and match[2]:
            where = f"line {match[2]}, column {match[3]}"
        raise _single(path, where, f"malformed TOML: {what}: correct this place") from None


def _single(path: Path, key: str, message: str) -> ConfigErrors:
    return ConfigErrors([Problem(file=path.name, key=key, message=message)])


def parse_config(
    document: Mapping[str, Any],
    *,
    file: str,
    path: Path,
    environment: Mapping[str, str] | None,
) -> Config:
    """Check a document that was read from ``path``, or is to be written there.

    Relative paths in it start at the folder of ``path``; ``file`` is its name in messages.
    """
    section, problems, wrong = _validated(document, file)
    findings = [] if section is None else list(check(section))
    if section is not None and environment is not None:
        findings += unusable_variables(section, environment)
    problems += [
        Problem(file=file, key=dotted(finding.key), message=finding.message)
        for finding in findings
        if not _rests_on(finding, wrong)
    ]
    if problems or section is None:
        raise ConfigErrors(problems)
    return _config(section, path)


def _validated(
    document: Mapping[str, Any], file: str
) -> tuple[FileSection | None, list[Problem], list[KeyPath]]:
    """The sections, and the problems of single keys.

    What is wrong is left out, so that the rest is checked too and one run shows everything.
    """
    problems: list[Problem] = []
    wrong: list[KeyPath] = []
    rest = copy.deepcopy(dict(document))
    while True:
        try:
            return FileSection.model_validate(rest), problems, wrong
        except ValidationError as error:
            if not wrong:
                problems += problems_of(error, FileSection, file)
            paths = [key_path(item) for item in error.errors(include_url=False)]
            wrong += paths
            if not any([_remove(rest, path) for path in paths]):
                return None, problems, wrong


def _remove(document: dict[str, Any], path: KeyPath) -> bool:
    """Remove the key, or for a missing key the section that should have it; False: neither."""
    sections: list[dict[str, Any]] = [document]
    for part in path:
        inner = sections[-1].get(part)
        if not isinstance(inner, dict):
            break
        sections.append(inner)
    at = min(len(sections), len(path)) - 1
    while at >= 0 and path[at] not in sections[at]:
        at -= 1
    if at >= 0:
        del sections[at][path[at]]
    return at >= 0


def _rests_on(finding: Finding, wrong: Sequence[KeyPath]) -> bool:
    return any(
        path[: len(about)] == about[: len(path)]
        for about in (finding.key, *finding.about)
        for path in wrong
    )


def _config(file: FileSection, path: Path) -> Config:
    gateway, control = file.gateway, file.control
    return Config(
        path=path,
        folder=path.parent,
        gateway=GatewayConfig(
            bind=gateway.bind,
            workers=gateway.workers,
            keys={
                name: KeyConfig(env=key.key, may_pin=key.may_pin)
                for name, key in gateway.keys.items()
            },
            passthrough=gateway.passthrough,
            spool_policy=gateway.spool_policy,
            max_spool_mb=gateway.max_spool_mb,
            min_free_mb=gateway.min_free_mb,
        ),
        control=ControlConfig(
            admin_bind=control.admin_bind,
            data=path.parent / control.data,
            tick_s=control.tick_s,
            collect_s=control.collect_s,
        ),
        upstreams={
            name: UpstreamConfig(
                base_url=upstream.base_url,
                api_key_env=upstream.api_key,
                prices={model: _price(price) for model, price in upstream.prices.items()},
            )
            for name, upstream in file.upstreams.items()
        },
        routes={name: _route(name, route) for name, route in file.routes.items()},
    )


def _route(name: str, route: RouteSection) -> RouteConfig:
    lm = route.teacher or route.lm
    assert lm is not None, "checked before"
    return RouteConfig(
        name=name,
        lm=lm,
        program=route.program,
        pure=route.pure,
        system=route.system,
        metric=route.metric,
        pass_score=route.pass_score,
        output=route.output,
        feedback=route.feedback,
        deadline_s=route.deadline_s,
        student_price=_price(route.student_price),
        distill=DistillConfig(**dict(route.distill)),
        policy=policy(route.shadow, route.rollout, route.guard),
    )


def _price(price: PriceSection) -> Price:
    return Price(input_per_m=price.input_per_m, output_per_m=price.output_per_m)
