"""Configurations that the tests of control share."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from control.config.load import parse_config
from control.config.values import Config

PLAIN = """
[upstreams.openai]
base_url = "https://api.openai.com/v1"
api_key = "env::OPENAI_API_KEY"
prices."gpt-5" = { input_per_m = 2, output_per_m = 8 }
[routes.triage]
teacher = "openai/gpt-5"
metric = "exact_match(answer)"
feedback = { crm = "all" }
"""

PROGRAM = """
[routes.support]
program = "app.support:build"
lm = "openai/gpt-5"
metric = "app.metrics:correct"
"""

ENVIRONMENT = {"OPENAI_API_KEY": "sk-not-a-real-key", "APP_KEY": "app-secret"}


def config_of(
    text: str,
    *,
    folder: Path = Path("/srv/limbeck"),
    environment: Mapping[str, str] | None = ENVIRONMENT,
) -> Config:
    """Parse TOML text as the file ``limbeck.toml`` in ``folder``."""
    return parse_config(
        tomllib.loads(text),
        file="limbeck.toml",
        path=folder / "limbeck.toml",
        environment=environment,
    )
