"""The trace store: DuckDB, opened by control alone. Importing this loads duckdb."""

from __future__ import annotations

from traces.store.database import Store
from traces.store.errors import (
    DatabaseError,
    DiskFullError,
    MigrationError,
    QueryError,
    RowsError,
    StoreError,
)

__all__ = [
    "DatabaseError",
    "DiskFullError",
    "MigrationError",
    "QueryError",
    "RowsError",
    "Store",
    "StoreError",
]
