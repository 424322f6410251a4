"""The DuckDB file. One process opens it, control; this class is the one way to it."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import msgspec

from traces.store import migrations
from traces.store.errors import DatabaseError, QueryError, RowsError, StoreError
from traces.store.queries import load_queries

T = TypeVar("T", bound=msgspec.Struct)
#: name of the attached file inside DuckDB
_CATALOG = "limbeck"
#: A checkpoint writes the last, partly filled row group anew each time. At DuckDB's own 122,880
#: rows that took up to 5 s, with the store locked; with this 0.7 s, and half the CPU a row.
_ROW_GROUP = 20_480
#: fewer checkpoints than at DuckDB's own 16 MB; replaying this much at start takes about a second
_CHECKPOINT_WAL = "64MB"
#: storage version: DuckDB 1.5 can still read the file, which leaves users a way back
_STORAGE = "v1.5.0"
#: what DuckDB raises for values rather than for the state of the database
_VALUE_ERRORS = (duckdb.DataError, duckdb.IntegrityError, duckdb.InvalidInputException)


class Store:
    """Named queries, appends and transactions on one connection; thread-safe.

    Every call fetches all of its rows and returns. From a coroutine use `asyncio.to_thread`.
    """

    def __init__(self, path: Path, *, memory_limit: str = "1GB", threads: int = 2) -> None:
        """Open the file, made if it is not there, and bring its schema up to date."""
        self.path = path
        # the memory limit must hold while the WAL is replayed, so it can't be SET later
        self._config: dict[str, Any] = {
            "memory_limit": memory_limit,
            "threads": str(threads),
            "checkpoint_threshold": _CHECKPOINT_WAL,
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
        self._queries = load_queries()
        # invariant: one statement at a time, and nothing of others inside a transaction
        self._lock = threading.RLock()
        self._in_transaction = False
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._migrate()

    def close(self) -> None:
        """Close the file. A later call opens it again."""
        with self._lock:
            if self._connection is not None:
                connection, self._connection = self._connection, None
                connection.close()

    def all(self, query: str, row: type[T], **params: Any) -> list[T]:
        """Return all rows of a named query, by column name; UUIDs and JSON come as text."""
        columns, rows = self._execute(query, params)
        try:
            return msgspec.convert([dict(zip(columns, r, strict=True)) for r in rows], list[row])  # type: ignore[valid-type]
        except msgspec.ValidationError as error:
            raise QueryError(f"query {query!r} does not give {row.__name__}: {error}") from error

    def one(self, query: str, row: type[T], **params: Any) -> T | None:
        """Return the only row of a named query, None if there is none."""
        rows = self.all(query, row, **params)
        if len(rows) > 1:
            raise QueryError(f"query {query!r} gave {len(rows)} rows where one was expected")
        return rows[0] if rows else None

    def run(self, query: str, **params: Any) -> None:
        """Run a named query for its effect."""
        self._execute(query, params)

    def append(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Append rows with values in the order of the table's columns; all of them or none."""
        if not rows:
            return
        with self._lock:
            if not self._in_transaction:
                with self.transaction():
                    return self.append(table, rows)
            with self._errors(f"append to {table}"), self._connected().appender(table) as appender:
                appender.append_rows(rows)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Transactions do not nest.

        On any exception, at COMMIT too, the file is closed, opened again and the exception raised.
        An exception at COMMIT does not say that nothing was stored: read again, never just retry.
        """
        with self._lock:
            if self._in_transaction:
                raise StoreError("a transaction is open already: transactions do not nest")
            self._in_transaction = True
            try:
                with self._errors("begin"):
                    self._connected().execute("BEGIN")
                yield
                with self._errors("commit"):
                    self._connected().execute("COMMIT")
            except BaseException:
                self._drop_connection()
                raise
            finally:
                self._in_transaction = False

    def checkpoint(self) -> None:
        """Move the WAL into the file. Run it on a timer: big batches may never trigger it."""
        with self._lock, self._errors("checkpoint"):
            self._connected().execute("CHECKPOINT")

    def _execute(self, name: str, params: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
        query = self._queries.get(name)
        if query is None:
            raise QueryError(f"there is no query {name!r} in traces/sql")
        with self._lock, self._errors(f"query {name!r} ({query.file})"):
            result = self._connected().execute(query.sql, params or None)
            columns = [column[0] for column in result.description or ()]
            return columns, [[_plain(value) for value in row] for row in result.fetchall()]

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turn DuckDB's exceptions into ours; a connection that it may have spoilt is dropped."""
        try:
            yield
        except _VALUE_ERRORS as error:
            raise RowsError(f"{what}: {error}") from error
        except duckdb.Error as error:
            if not self._in_transaction:
                self._drop_connection()
            raise DatabaseError(f"{what}: {error}") from error

    def _connected(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(config=self._config)
        path = str(self.path).replace("'", "''")
        try:
            connection.execute(
                f"ATTACH '{path}' AS {_CATALOG} "
                f"(STORAGE_VERSION '{_STORAGE}', ROW_GROUP_SIZE {_ROW_GROUP})"
            )
            connection.execute(f"USE {_CATALOG}")
        except duckdb.Error as error:
            connection.close()
            raise DatabaseError(f"{self.path} can't be opened: {error}") from error
        return connection

    def _drop_connection(self) -> None:
        """Close whatever state the connection is in; the next call opens the file again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(duckdb.Error):
                connection.execute("ROLLBACK")
            with contextlib.suppress(duckdb.Error):
                connection.close()

    def _migrate(self) -> None:
        fresh = not migrations.has_tables(self._connected())
        for migration in migrations.pending(self._connected(), migrations.load_migrations()):
            if not fresh:
                self.checkpoint()
                self.close()
                migrations.copy_before(self.path, migration)
            try:
                migrations.apply(self._connected(), migration, now=time.time())
            except BaseException:
                self._drop_connection()
                raise


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, uuid.UUID) else value
