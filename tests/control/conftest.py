from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Control's parts with one route and one student, without processes; files may set another."""
    world = World(tmp_path)
    yield world
    world.stop()
