"""What the tests compare with and users do not have: vectors and real data beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared(*parts: str) -> Path:
    """A file or folder of the shared folder; skips the test where there is none."""
    root = os.environ.get("LIMBECK_SHARED")
    folder = Path(root) if root else Path(__file__).parents[2] / "shared"
    path = folder.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{'/'.join(parts)} not found; set LIMBECK_SHARED to the shared folder")
    return path
