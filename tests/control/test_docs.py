from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from control.cli import COMMANDS, PROCESSES
from control.config.policy_sections import GuardSection, RolloutSection, ShadowSection
from control.config.sections import (
    ControlSection,
    DistillSection,
    GatewaySection,
    RouteSection,
    UpstreamSection,
)

DOCS = Path(__file__).resolve().parents[2] / "docs"
SECTIONS: dict[str, type[BaseModel]] = {
    "gateway": GatewaySection,
    "control": ControlSection,
    "upstreams.NAME": UpstreamSection,
    "routes.NAME": RouteSection,
    "routes.NAME.distill": DistillSection,
    "routes.NAME.shadow": ShadowSection,
    "routes.NAME.rollout": RolloutSection,
    "routes.NAME.guard": GuardSection,
}
#: sections of their own
INNER = {"distill", "shadow", "rollout", "guard"}


def documented(section: str) -> dict[str, str]:
    """Key -> default, as the table of a section has them."""
    text = (DOCS / "reference" / "configuration.md").read_text()
    part = text.split(f"## [{section}]\n", 1)[1].split("\n## ", 1)[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", part, re.MULTILINE))


def simple_defaults() -> Iterator[tuple[str, str, Any]]:
    for section, model in SECTIONS.items():
        for key, field in model.model_fields.items():
            if isinstance(field.default, bool | int | float | str | list):
                yield section, key, field.default


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_documented_and_no_other(section: str) -> None:
    assert set(documented(section)) == set(SECTIONS[section].model_fields) - INNER


@pytest.mark.parametrize(("section", "key", "default"), list(simple_defaults()))
def test_the_documented_default_is_the_real_one(section: str, key: str, default: Any) -> None:
    shown = documented(section)[key].strip("`")
    assert tomllib.loads(f"x = {shown}")["x"] == default


def test_every_command_is_documented() -> None:
    text = (DOCS / "reference" / "cli.md").read_text()
    missing = [name for name in (*COMMANDS, *PROCESSES) if f"`limbeck {name}" not in text]
    assert missing == []
