"""Traces, calls, labels and scores for the distiller's tests: real rows in a real store."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from traces.store import Store
from traces.times import from_seconds

ROUTE = "tickets"
VERSION = "v1"
METRIC = "m1"
#: the moment of the first trace, Unix seconds
START = 1_760_000_000.0


def trace_uuid(number: int) -> str:
    """UUIDs in the order of the numbers."""
    return str(uuid.UUID(int=(0x0190 << 112) | (7 << 76) | (2 << 62) | number))


class Log:
    """Writes what a collector would have written."""

    def __init__(self, path: Path, *, after: int = 0) -> None:
        """``after``: how many traces are there already."""
        self.path = path
        Store(path).close()
        self._number = after
        self._db: duckdb.DuckDBPyConnection | None = None

    @contextmanager
    def opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Around many rows it opens the file once, not for each."""
        if self._db is not None:
            yield self._db
            return
        with duckdb.connect(str(self.path)) as db:
            self._db = db
            try:
                yield db
            finally:
                self._db = None

    def store(self) -> Store:
        return Store(self.path)

    def trace(
        self,
        text: str,
        answer: str | None,
        *,
        bucket: int = 50,
        score: float | None = None,
        gold: Any = None,
        confirmed: bool | None = None,
        source: str = "crm",
        call: dict[str, Any] | None = None,
        system: str | None = None,
        **columns: Any,
    ) -> str:
        """Insert one trace; ``call`` are the outputs of its one predictor call."""
        self._number += 1
        trace_id, ts = trace_uuid(self._number), from_seconds(START + self._number)
        messages = [{"role": "user", "content": text}]
        if system:
            messages.insert(0, {"role": "system", "content": system})
        row = {
            "trace_id": trace_id, "ts": ts, "route": ROUTE, "program_version": VERSION,
            "metric_hash": METRIC, "state": "done", "served_by": "teacher", "status": 200,
            "finish": "stop", "bucket": bucket, "text": text, "answer": answer,
            "request": json.dumps({"model": ROUTE, "messages": messages}),
            "response": json.dumps({"choices": [{"finish_reason": "stop"}]}),
            "audit": False, "retry": False, **columns,
        }  # fmt: skip
        with self.opened() as db:
            _insert(db, "traces", row)
            if call is not None:
                _insert(db, "calls", {
                    "trace_id": trace_id, "call_id": f"c{self._number}", "seq": 0, "ts": ts,
                    "route": ROUTE, "program_version": VERSION, "side": "teacher",
                    "predictor": "classify", "inputs": json.dumps({"text": text}),
                    "outputs": json.dumps(call),
                })  # fmt: skip
        at = START + self._number
        if score is not None:
            self.score(trace_id, score, at=at)
        if gold is not None or confirmed is not None:
            self.label(trace_id, gold=gold, confirmed=confirmed, source=source, at=at)
        return trace_id

    def score(self, trace_id: str, score: float, *, at: float) -> None:
        """``at``: when the answer, or the label that it is scored by, became known."""
        with self.opened() as db:
            _insert(db, "scores", {
                "trace_id": trace_id, "ts": from_seconds(at), "route": ROUTE, "side": "served",
                "metric_hash": METRIC, "score": score,
            })  # fmt: skip

    def label(
        self,
        trace_id: str,
        *,
        at: float,
        gold: Any = None,
        confirmed: bool | None = None,
        source: str = "crm",
    ) -> None:
        with self.opened() as db:
            _insert(db, "feedback", {
                "feedback_id": str(uuid.uuid4()), "ts": from_seconds(at), "trace_id": trace_id,
                "gold": None if gold is None else json.dumps(gold),
                "confirmed": confirmed, "source": source,
            })  # fmt: skip

    def source(self, name: str, coverage: str) -> None:
        with self.opened() as db:
            _insert(db, "feedback_sources", {"route": ROUTE, "source": name, "coverage": coverage})

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with self.opened() as db:
            return db.execute(query).fetchall()


def _insert(db: duckdb.DuckDBPyConnection, table: str, row: dict[str, Any]) -> None:
    names, marks = ", ".join(row), ", ".join("?" for _ in row)
    db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))
