"""Numbered, forward-only schema changes: ``traces/sql/migrations/NNNN_name.sql``.

Each: a copy of the file as it was, the statements and their row in ``schema_migrations`` in one
transaction, a checkpoint at once. DDL that waits in the WAL has bricked files of older versions.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb

from traces.store.errors import MigrationError
from traces.times import from_seconds

FOLDER = Path(__file__).parent.parent / "sql" / "migrations"
_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_LEDGER = (
    "CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER, name VARCHAR, ts TIMESTAMP)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str


def load_migrations(folder: Path = FOLDER) -> list[Migration]:
    """Read the migrations of a folder: numbered from 1 on, without gaps."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path.name}: a migration is named NNNN_what_it_does.sql")
        sql = path.read_text(encoding="utf-8")
        found.append(Migration(version=int(match[1]), name=match[2], sql=sql))
    versions = [migration.version for migration in found]
    if versions != list(range(1, len(found) + 1)):
        raise MigrationError(f"migrations must be numbered 1, 2, 3, ... once each, not {versions}")
    return found


def pending(connection: duckdb.DuckDBPyConnection, known: list[Migration]) -> list[Migration]:
    """Return the migrations that a database lacks.

    Raises `MigrationError` for a database of a newer limbeck.
    """
    if not _tables(connection):
        return known
    applied = 0
    if "schema_migrations" in _tables(connection):
        row = connection.execute("SELECT max(version) FROM schema_migrations").fetchall()[0]
        applied = row[0] or 0
    if applied > len(known):
        raise MigrationError(
            f"the database has schema {applied}, this limbeck knows up to {len(known)}: "
            "use the limbeck that made it, or restore the copy from before the migration"
        )
    return known[applied:]


def copy_before(path: Path, migration: Migration) -> Path:
    """Copy a closed, checkpointed database file to ``FILE.before-NNNN`` and return the copy."""
    copy = path.with_name(f"{path.name}.before-{migration.version:04d}")
    shutil.copyfile(path, copy)
    return copy


def has_tables(connection: duckdb.DuckDBPyConnection) -> bool:
    return bool(_tables(connection))


def apply(connection: duckdb.DuckDBPyConnection, migration: Migration, *, now: float) -> None:
    """Apply one migration whole, or not at all. ``now`` is in Unix seconds."""
    try:
        connection.execute("BEGIN")
        connection.execute(_LEDGER)
        connection.execute(migration.sql)
        connection.execute(
            "INSERT INTO schema_migrations VALUES (?, ?, ?)",
            [migration.version, migration.name, from_seconds(now)],
        )
        connection.execute("COMMIT")
        connection.execute("CHECKPOINT")
    except duckdb.Error as error:
        raise MigrationError(
            f"migration {migration.version:04d}_{migration.name} failed: {error}. "
            "Nothing was changed; a copy of the file as it was lies beside it."
        ) from error


def _tables(connection: duckdb.DuckDBPyConnection) -> set[str]:
    rows = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database()"
    ).fetchall()
    return {row[0] for row in rows}
