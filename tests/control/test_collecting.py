from __future__ import annotations

import time
from pathlib import Path

import pytest

from control.collecting import Collecting
from tests.traces.frames import CONTEXT, TS_US, end_payload, new_id, start_payload
from traces.spool import SpoolWriter
from traces.spool.frames import encode
from traces.store import Store


def test_a_request_that_takes_long_holds_up_its_own_route_alone(tmp_path: Path) -> None:
    store = Store(tmp_path / "t.duckdb")
    collecting = Collecting(store, tmp_path / "spool", CONTEXT)
    writer = SpoolWriter(tmp_path / "spool")
    trace_id = new_id()
    writer.append(start_payload(trace_id, deadline_us=int((time.time() + 600) * 1e6)))
    collecting.step()
    assert collecting.known_to("tickets") == pytest.approx(TS_US / 1e6, abs=1e-3)
    assert collecting.known_to("tickets") < TS_US / 1e6
    assert collecting.known_to("other") == pytest.approx(time.time() - 2, abs=5)

    writer.append(end_payload(trace_id))
    collecting.step()
    assert collecting.known_to("tickets") == pytest.approx(time.time() - 2, abs=5)
    writer.close()
    store.close()


def test_what_waits_is_what_was_written_and_not_the_room_for_more(tmp_path: Path) -> None:
    store = Store(tmp_path / "t.duckdb")
    collecting = Collecting(store, tmp_path / "spool", CONTEXT)
    sealed, live = SpoolWriter(tmp_path / "spool"), SpoolWriter(tmp_path / "spool")
    payloads = [end_payload(new_id()) for _ in range(5)]
    for payload in payloads[:3]:
        sealed.append(payload)
    sealed.close()
    for payload in payloads[3:]:
        live.append(payload)
    assert collecting.status.spool_bytes == sum(len(encode(payload)) for payload in payloads)
    collecting.step()
    assert collecting.status.spool_bytes == 0
    live.append(payloads[0])
    assert collecting.status.spool_bytes == len(encode(payloads[0]))
    live.close()
    store.close()
