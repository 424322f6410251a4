from __future__ import annotations

import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from tests.traces.conftest import Sql
from traces.store import DatabaseError, QueryError, RowsError, Store, StoreError
from traces.times import from_seconds, from_us, to_seconds


class Ledger(msgspec.Struct):
    segment: str
    read_to: int


class Open(msgspec.Struct):
    trace_id: str
    writer: str
    deadline: float


class Wrong(msgspec.Struct):
    segment: int


def test_rows_come_back_as_structs(store: Store) -> None:
    store.append("ingest_ledger", [("a", 1), ("b", 2)])
    assert store.all("ledger", Ledger) == [Ledger("a", 1), Ledger("b", 2)]
    store.run("forget_segments", segments=["a"])
    assert store.one("ledger", Ledger) == Ledger("b", 2)
    store.run("forget_segments", segments=["b"])
    assert store.one("ledger", Ledger) is None


def test_uuids_are_text_and_times_are_utc(store: Store) -> None:
    trace_id = "0197a1f0-0000-7000-8000-000000000001"
    store.append("open_requests", [(trace_id, "w", from_seconds(1_700_000_000.25))])
    assert store.all("open_requests", Open) == [Open(trace_id, "w", 1_700_000_000.25)]
    assert from_us(1_700_000_000_250_000) == datetime(2023, 11, 14, 22, 13, 20, 250_000)  # noqa: DTZ001
    assert to_seconds(from_seconds(12.5)) == 12.5


def test_what_is_wrong_with_a_query_is_said(store: Store) -> None:
    with pytest.raises(QueryError, match="no query 'nope'"):
        store.run("nope")
    store.append("ingest_ledger", [("a", 1), ("b", 2)])
    with pytest.raises(QueryError, match="'ledger' gave 2 rows"):
        store.one("ledger", Ledger)
    with pytest.raises(QueryError, match="'ledger' does not give Wrong"):
        store.all("ledger", Wrong)
    with pytest.raises(StoreError, match="forget_segments"):
        store.run("forget_segments")


def test_rows_that_do_not_fit_leave_nothing_behind(store: Store) -> None:
    with pytest.raises(RowsError, match="append to ingest_ledger"):
        store.append("ingest_ledger", [("a", 1), ("b", "many")])
    assert store.all("ledger", Ledger) == []
    store.append("ingest_ledger", [("c", 3)])
    assert store.all("ledger", Ledger) == [Ledger("c", 3)]


def test_a_transaction_is_all_or_nothing(store: Store) -> None:
    store.append("ingest_ledger", [("before", 1)])
    with pytest.raises(RowsError), store.transaction():
        store.append("ingest_ledger", [("inside", 1)])
        store.run("forget_segments", segments=["before"])
        store.append("ingest_ledger", [("bad", "many")])
    assert store.all("ledger", Ledger) == [Ledger("before", 1)]
    with pytest.raises(KeyError), store.transaction():
        store.append("ingest_ledger", [("inside", 1)])
        raise KeyError("of the caller")
    with store.transaction():
        store.append("ingest_ledger", [("after", 2)])
    assert store.all("ledger", Ledger) == [Ledger("before", 1), Ledger("after", 2)]


def test_transactions_do_not_nest(store: Store) -> None:
    with pytest.raises(StoreError, match="do not nest"), store.transaction(), store.transaction():
        raise AssertionError("unreachable")
    with store.transaction():
        store.append("ingest_ledger", [("a", 1)])
    assert len(store.all("ledger", Ledger)) == 1


def test_other_threads_wait_for_the_end_of_a_transaction(store: Store) -> None:
    seen: list[int] = []
    other = threading.Thread(target=lambda: seen.append(len(store.all("ledger", Ledger))))
    with store.transaction():
        store.append("ingest_ledger", [("a", 1)])
        other.start()
        store.append("ingest_ledger", [("b", 1)])
        assert seen == []
    other.join()
    assert seen == [2]


def test_the_file_opens_again_after_close(store: Store) -> None:
    store.append("ingest_ledger", [("a", 1)])
    store.close()
    assert store.all("ledger", Ledger) == [Ledger("a", 1)]


def test_the_file_keeps_a_way_back_to_duckdb_1_5(sql: Sql) -> None:
    ((tags,),) = sql("SELECT tags FROM duckdb_databases() WHERE NOT internal")
    assert tags == {"storage_version": "v1.5.0+"}


def test_a_path_with_a_quote_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "o'hara" / "limbeck.duckdb"
    Store(path).close()
    assert path.is_file()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "limbeck.duckdb"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(DatabaseError, match="can't be opened"):
        Store(path)


def test_a_file_that_somebody_else_holds_is_named(database: Path, store: Store) -> None:
    code = (
        "import sys; from pathlib import Path; from traces.store import Store;"
        "Store(Path(sys.argv[1]))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, str(database)], capture_output=True, text=True, check=False
    )
    assert other.returncode == 1
    assert "DatabaseError" in other.stderr and str(database) in other.stderr


def test_a_checkpoint_empties_the_wal(store: Store, database: Path) -> None:
    store.append("ingest_ledger", [("a", 1)])
    wal = database.with_name(database.name + ".wal")
    assert wal.stat().st_size > 0
    store.checkpoint()
    assert not wal.exists() or wal.stat().st_size == 0
