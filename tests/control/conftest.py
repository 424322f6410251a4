from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from control.layout import Layout
from tests.control.world import World
from tests.fakes.admin import FakeAdmin, fake_admin


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Control's parts with one route and one student, without processes; files may set another."""
    world = World(tmp_path)
    yield world
    world.stop()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A data folder where a command finds it; files may set another."""
    layout = Layout(data=tmp_path / ".limbeck")
    layout.data.mkdir()
    return layout


@pytest.fixture
def admin(layout: Layout) -> Iterator[FakeAdmin]:
    """A server in the place of control."""
    with fake_admin(layout) as fake:
        yield fake
