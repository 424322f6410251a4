"""Errors of the trace store.

StoreError
├── QueryError      a named query that is unknown, doubled, or gives rows of another shape
├── MigrationError  a schema that can't be brought up to date
├── RowsError       values that do not fit their table: repeating won't help
├── DiskFullError   the disk is so full that DuckDB must not be asked to write
└── DatabaseError   DuckDB failed: disk, memory, lock, a broken file
"""

from __future__ import annotations


class StoreError(Exception):
    """Anything that goes wrong with the trace store."""


class QueryError(StoreError):
    """A named query that is unknown, doubled, or gives rows of another shape than asked for."""


class MigrationError(StoreError):
    """A schema that can't be brought up to date."""


class RowsError(StoreError):
    """Values that do not fit their table. Repeating won't help."""


class DiskFullError(StoreError):
    """The disk is so full that DuckDB must not be asked to write."""


class DatabaseError(StoreError):
    """DuckDB failed: disk, memory, lock, or a broken file."""
