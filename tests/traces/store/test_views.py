"""The views for people who ask the file itself: what was said about a request, what it cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.traces.conftest import Sql
from tests.traces.frames import CONTEXT, TS_US, call, end_payload, feedback_payload, new_id
from traces.record import pack
from traces.spool import SpoolWriter
from traces.store import Store
from traces.store.collector import Collector
from traces.times import from_seconds


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def collector(store: Store, folder: Path) -> Collector:
    return Collector(store, folder, CONTEXT)


def write(folder: Path, *payloads: bytes) -> None:
    writer = SpoolWriter(folder)
    for payload in payloads:
        writer.append(payload)
    writer.close()


def test_labels_are_the_last_word_of_each_coverage(
    collector: Collector, store: Store, folder: Path, sql: Sql
) -> None:
    store.append("feedback_sources", [("tickets", "crm", "all"), ("tickets", "desk", "audit")])
    trace_id = new_id()

    def label(second: int, **body: object) -> bytes:
        return feedback_payload(
            {"inference_id": trace_id, **body}, ts_us=TS_US + second * 1_000_000
        )

    # orphans first: the trace comes later
    write(
        folder,
        label(2, gold="late", source="crm"),
        label(1, gold="early", source="crm"),
        label(3, metric="stars", value=5, source="crm"),
        label(1, confirmed=True, source="desk"),
        label(5, gold="anyone", source="stranger"),
        label(6, gold="nobody"),
    )
    collector.step()
    assert sql("SELECT * FROM labels") == []
    write(folder, end_payload(trace_id))
    collector.step()
    found = sql("SELECT coverage, gold, confirmed, ts FROM labels ORDER BY coverage")
    assert found == [
        ("all", '"late"', None, from_seconds(TS_US / 1e6 + 2)),
        ("audit", None, True, from_seconds(TS_US / 1e6 + 1)),
        ("volunteered", '"nobody"', None, from_seconds(TS_US / 1e6 + 6)),
    ]


def test_a_programs_cost_is_that_of_its_calls(collector: Collector, folder: Path, sql: Sql) -> None:
    known, unknown, own = new_id(), new_id(), new_id()
    host = {"upstream": "tickets-host", "upstream_model": "tickets@teacher"}
    write(
        folder,
        *(end_payload(trace_id, **host) for trace_id in (known, unknown)),
        end_payload(own),
        pack(call(known)),
        pack(call(known, seq=1)),
        pack(call(unknown)),
        pack(call(unknown, model="openai/unpriced")),
    )
    collector.step()
    costs = {
        str(trace_id): cost for trace_id, cost in sql("SELECT trace_id, cost_usd FROM trace_costs")
    }
    assert costs == {known: pytest.approx(0.0012), unknown: None, own: pytest.approx(0.0006)}
