"""Runs the console script as a person does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LIMBECK = Path(sys.executable).parent / "limbeck"


def limbeck(
    *words: str, cwd: Path, timeout_s: float = 60, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end; no variable of the tests' own reaches it."""
    return subprocess.run(
        [str(LIMBECK), *words],
        cwd=cwd,
        env=clean_environment(environment),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def clean_environment(extra: dict[str, str]) -> dict[str, str]:
    """As the tests', without what steers limbeck or its upstreams."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LIMBECK_", "OPENAI_")) and name != "PYTHONPATH"
    }
    return {**kept, **extra}
