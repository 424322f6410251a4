"""A store for each test, on a file, as control has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control.report.filled import Filled
from traces.store import Store


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Filled]:
    store = Store(tmp_path / "limbeck.duckdb")
    yield Filled(store, tmp_path)
    store.close()
