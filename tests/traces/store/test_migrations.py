from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from tests.traces.conftest import Sql
from traces.store import MigrationError, Store
from traces.store.migrations import Migration, apply, load_migrations, pending


def test_a_new_file_gets_every_migration_once_and_no_copy(database: Path) -> None:
    Store(database).close()
    Store(database).close()
    with duckdb.connect(str(database)) as connection:
        rows = connection.execute("SELECT version FROM schema_migrations").fetchall()
    versions = [row[0] for row in rows]
    assert versions == [migration.version for migration in load_migrations()]
    assert [path.name for path in database.parent.iterdir()] == [database.name]


def test_a_file_with_data_is_copied_before_it_changes(tmp_path: Path) -> None:
    # a file of an old schema: its tables are there, the ledger of migrations is not
    old = tmp_path / "old.duckdb"
    with duckdb.connect(str(old), config={"storage_compatibility_version": "v1.5.0"}) as connection:
        connection.execute("CREATE TABLE keepsake AS SELECT 42 AS x")
    Store(old).close()
    with duckdb.connect(str(tmp_path / "old.duckdb.before-0001")) as connection:
        assert connection.execute("SELECT x FROM keepsake").fetchall() == [(42,)]
        assert connection.execute("SELECT count(*) FROM duckdb_tables()").fetchall() == [(1,)]


def test_a_newer_database_is_refused(database: Path, sql: Sql) -> None:
    sql("INSERT INTO schema_migrations VALUES (9999, 'future', NULL)")
    with pytest.raises(MigrationError, match="schema 9999"):
        Store(database)


def test_a_failing_migration_changes_nothing() -> None:
    bad = Migration(version=1, name="bad", sql="CREATE TABLE good (x INTEGER); SELECT nonsense;")
    with duckdb.connect() as connection:
        with pytest.raises(MigrationError, match="0001_bad"):
            apply(connection, bad, now=0.0)
        connection.execute("ROLLBACK")
        assert pending(connection, [bad]) == [bad]


@pytest.mark.parametrize("names", [["0002_a.sql"], ["0001_a.sql", "0001_b.sql"], ["1_a.sql"]])
def test_misnumbered_migrations_are_refused(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("SELECT 1")
    with pytest.raises(MigrationError):
        load_migrations(tmp_path)
