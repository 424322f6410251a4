from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from traces.store import Store

Sql = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "data" / "limbeck.duckdb"


@pytest.fixture
def store(database: Path) -> Iterator[Store]:
    store = Store(database)
    yield store
    store.close()


@pytest.fixture
def sql(database: Path, store: Store) -> Sql:
    """Ask the file itself, as somebody else would; the store opens it again when needed."""

    def ask(text: str) -> list[tuple[Any, ...]]:
        store.close()
        with duckdb.connect(str(database)) as connection:
            return connection.execute(text).fetchall()

    return ask
