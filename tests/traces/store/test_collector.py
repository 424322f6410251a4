from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.traces.conftest import Sql
from tests.traces.frames import (
    CONTEXT,
    TS_US,
    call,
    chat,
    completion,
    end,
    end_payload,
    feedback_payload,
    new_id,
    start_payload,
)
from traces.record import Gap, pack
from traces.spool import Recorder, SpoolWriter, free_bytes, list_segments
from traces.store import DatabaseError, DiskFullError, Store
from traces.store.collector import Collector, CollectorStep

NOW = TS_US / 1e6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def collector(store: Store, folder: Path) -> Collector:
    return Collector(store, folder, CONTEXT, clock=lambda: NOW)


def write(folder: Path, *payloads: bytes, close: bool = True) -> SpoolWriter:
    writer = SpoolWriter(folder, segment_bytes=1 << 16)
    for payload in payloads:
        writer.append(payload)
    if close:
        writer.close()
    return writer


def ids(sql: Sql) -> list[str]:
    return [str(row[0]) for row in sql("SELECT trace_id FROM traces ORDER BY trace_id")]


def test_every_kind_of_frame_reaches_its_table(
    collector: Collector, folder: Path, sql: Sql
) -> None:
    trace_id = new_id()
    write(
        folder,
        end_payload(trace_id),
        pack(call(trace_id)),
        feedback_payload({"inference_id": trace_id, "gold": "hi"}),
        pack(Gap(worker="w1", from_us=TS_US, to_us=TS_US, dropped={"quota": 2})),
        b"no frame of ours",
    )
    step = collector.step()
    assert step == CollectorStep(
        frames=5, traces=1, calls=1, feedback=1, gaps=1, dead_letters=1, removed=1
    )
    assert ids(sql) == [trace_id]
    assert sql("SELECT answer, cost_usd, request->>'model' FROM traces") == [
        ("hi", pytest.approx(0.0006), "tickets")
    ]
    assert sql("SELECT predictor, inputs->>'ticket' FROM calls") == [("classify", "hello")]
    assert sql("SELECT gold FROM feedback") == [('"hi"',)]
    assert sql("SELECT worker, reason, n FROM gaps") == [("w1", "quota", 2)]
    ((raw, error),) = sql("SELECT raw, error FROM dead_letters")
    assert raw == b"no frame of ours" and "header claims" in error
    assert list_segments(folder) == [] and sql("SELECT * FROM ingest_ledger") == []


def test_a_live_segment_is_read_again_from_where_it_was_left(
    collector: Collector, folder: Path, sql: Sql
) -> None:
    first, second = new_id(), new_id()
    writer = write(folder, end_payload(first), close=False)
    assert collector.step().traces == 1
    assert collector.step().frames == 0
    writer.append(end_payload(second))
    assert collector.step().traces == 1
    assert len(list_segments(folder)) == 1
    writer.close()
    assert collector.step().removed == 1
    assert ids(sql) == sorted([first, second])


def test_a_new_collector_goes_on_from_the_ledger(
    collector: Collector, store: Store, folder: Path, sql: Sql
) -> None:
    writer = write(folder, end_payload(), close=False)
    collector.step()
    writer.append(end_payload())
    again = Collector(store, folder, CONTEXT, clock=lambda: NOW)
    assert again.step().traces == 1
    assert len(ids(sql)) == 2
    # the other one died between the deletion of a segment and that of its ledger row
    writer.close()
    (segment,) = list_segments(folder)
    segment.path.unlink()
    Collector(store, folder, CONTEXT, clock=lambda: NOW)
    assert sql("SELECT * FROM ingest_ledger") == []


def test_batches_are_bounded_and_no_writer_starves(
    store: Store, folder: Path, sql: Sql, collector: Collector
) -> None:
    tiny = [feedback_payload({"episode_id": "e", "gold": i}) for i in range(4000)]
    busy = [SpoolWriter(folder, name=name) for name in "ab"]
    for writer in busy:
        for payload in tiny:
            writer.append(payload)
    step = collector.step()
    assert (step.frames, step.more) == (5000, True)
    for payload in tiny:
        busy[0].append(payload)
    assert collector.step().frames == 5000
    collector.drain()
    assert sql("SELECT count(*) FROM feedback") == [(12_000,)]
    for writer in busy:
        writer.close()


def test_batches_are_bounded_in_bytes(collector: Collector, folder: Path, sql: Sql) -> None:
    # 96 MB of prompts in three segments: decoded at once they would take several times that.
    writer = SpoolWriter(folder, segment_bytes=40 << 20, max_bytes=1 << 30)
    for _ in range(96):
        writer.append(end_payload(text="x" * (1 << 20)))
    step = collector.step()
    assert step.more and 64 <= step.frames <= 65
    collector.drain()
    assert sql("SELECT count(*), count(DISTINCT trace_id) FROM traces") == [(96, 96)]
    writer.close()


# requests that stay open


def test_an_end_frame_replaces_the_open_row(collector: Collector, folder: Path, sql: Sql) -> None:
    trace_id = new_id()
    writer = write(folder, start_payload(trace_id), close=False)
    assert collector.step().traces == 1
    assert sql("SELECT state, answer, text FROM traces") == [("open", None, "hello")]
    writer.append(end_payload(trace_id))
    collector.step()
    assert sql("SELECT state, answer FROM traces") == [("done", "hi")]
    assert sql("SELECT count(*) FROM open_requests") == [(0,)]
    writer.close()


def test_start_and_end_in_one_batch_make_one_row(
    collector: Collector, folder: Path, sql: Sql
) -> None:
    trace_id = new_id()
    write(folder, start_payload(trace_id), end_payload(trace_id))
    assert collector.step().traces == 1
    assert sql("SELECT state FROM traces") == [("done",)]
    assert sql("SELECT count(*) FROM open_requests") == [(0,)]


def test_a_request_whose_writer_is_gone_is_aborted(
    collector: Collector, store: Store, folder: Path, sql: Sql
) -> None:
    trace_id = new_id()
    writer = write(folder, start_payload(trace_id), close=False)
    assert collector.step().aborted == 0
    # also after a restart of the collector
    collector = Collector(store, folder, CONTEXT, clock=lambda: NOW)
    assert collector.step().aborted == 0
    writer.close()
    assert collector.step().aborted == 1
    assert sql("SELECT state, count(*) FROM traces GROUP BY ALL") == [("aborted", 1)]
    # should its end turn up all the same, it wins
    write(folder, end_payload(trace_id))
    collector.step()
    assert sql("SELECT state, answer FROM traces") == [("done", "hi")]


def test_a_request_beyond_its_deadline_is_aborted(store: Store, folder: Path, sql: Sql) -> None:
    now = NOW
    collector = Collector(store, folder, CONTEXT, clock=lambda: now)
    writer = write(folder, start_payload(new_id(), deadline_us=TS_US + 5_000_000), close=False)
    assert collector.step().aborted == 0
    now += 4.9
    assert collector.step().aborted == 0
    now += 0.2
    assert collector.step().aborted == 1
    assert sql("SELECT state FROM traces") == [("aborted",)]
    writer.close()


# damage


def test_a_torn_tail_is_no_damage(collector: Collector, folder: Path, sql: Sql) -> None:
    write(folder, end_payload(), end_payload())
    (segment,) = list_segments(folder)
    data = segment.path.read_bytes()
    segment.path.write_bytes(data[:-5])
    step = collector.step()
    assert (step.traces, step.removed, step.quarantined) == (1, 1, 0)
    assert len(ids(sql)) == 1 and list_segments(folder) == []


def test_damage_in_the_middle_goes_to_quarantine(
    collector: Collector, folder: Path, sql: Sql
) -> None:
    good, bad, later = (end_payload(text=text) for text in ("good", "bad", "later"))
    write(folder, good, bad, later)
    (segment,) = list_segments(folder)
    data = bytearray(segment.path.read_bytes())
    data[8 + len(good) + 8 + 20] ^= 0xFF
    segment.path.write_bytes(data)
    step = collector.step()
    assert (step.traces, step.removed, step.quarantined) == (1, 0, 1)
    assert (folder / "quarantine" / segment.name).read_bytes() == data
    assert sql("SELECT text FROM traces") == [("good",)]
    assert sql("SELECT * FROM ingest_ledger") == []
    assert collector.step() == CollectorStep()


def test_a_live_segment_is_never_quarantined(collector: Collector, folder: Path) -> None:
    writer = write(folder, end_payload(), end_payload(), end_payload(), close=False)
    (segment,) = list_segments(folder)
    data = segment.path.read_bytes()
    with segment.path.open("r+b") as file:
        file.seek(len(end_payload()) + 30)
        file.write(bytes(byte ^ 0xFF for byte in data[len(end_payload()) + 30 :][:1]))
    step = collector.step()
    assert step.quarantined == 0 and len(list_segments(folder)) == 1
    writer.close()
    assert collector.step().quarantined == 1


# failures of the store


def test_a_row_that_its_table_refuses_blocks_no_other(
    collector: Collector, folder: Path, sql: Sql
) -> None:
    wanted = [new_id() for _ in range(60)]
    payloads = [end_payload(trace_id) for trace_id in wanted]
    payloads.insert(31, pack(*end(chat("x"), completion("y"), trace_id="no uuid")))
    payloads.insert(7, pack(*end(chat("x"), completion("y"), status=10**6)))
    write(folder, *payloads)
    collector.drain()
    assert ids(sql) == sorted(wanted)
    errors = [row[0] for row in sql("SELECT error FROM dead_letters ORDER BY error")]
    assert len(errors) == 2
    assert "UUID" in errors[0] + errors[1] and "range" in errors[0] + errors[1]
    assert list_segments(folder) == [] and sql("SELECT * FROM ingest_ledger") == []


def test_a_refused_row_is_found_while_another_writer_goes_on(
    collector: Collector, folder: Path, sql: Sql
) -> None:
    other, writer = (SpoolWriter(folder, name=name) for name in "ab")
    behind = [new_id() for _ in range(20)]
    refused = pack(*end(chat("x"), completion("y"), trace_id="no uuid"))
    for payload in (refused, *map(end_payload, behind)):
        writer.append(payload)
    found = 0
    for _ in range(50):
        for _ in range(3):
            other.append(end_payload())
        found += collector.step().dead_letters
    assert found == 1 and set(behind) <= set(ids(sql))
    collector.drain()
    for _ in range(100):
        writer.append(end_payload())
    assert collector.step().traces == 100, "batches are as large as before"
    for one in (other, writer):
        one.close()


def test_a_failure_inside_the_transaction_leaves_rows_and_ledger_in_step(
    collector: Collector, store: Store, folder: Path, sql: Sql
) -> None:
    write(folder, end_payload(), end_payload(), close=True)
    # the ledger can't be written: the rows before it in the transaction must go too
    sql("ALTER TABLE ingest_ledger RENAME TO moved")
    with pytest.raises(DatabaseError):
        collector.step()
    assert sql("SELECT count(*) FROM traces") == [(0,)]
    assert len(list_segments(folder)) == 1
    sql("ALTER TABLE moved RENAME TO ingest_ledger")
    collector.drain()
    assert sql("SELECT count(*), count(DISTINCT trace_id) FROM traces") == [(2, 2)]
    assert list_segments(folder) == []


def test_a_commit_that_happened_all_the_same_is_not_repeated(
    collector: Collector, store: Store, folder: Path, sql: Sql
) -> None:
    # What an exception at COMMIT can mean: rows and ledger are in, and the collector was not told.
    # Another collector on the same store does that to this one.
    writer = write(folder, end_payload(), close=False)
    collector.step()
    writer.append(end_payload())
    Collector(store, folder, CONTEXT, clock=lambda: NOW).step()
    sql("ALTER TABLE feedback RENAME TO moved")
    writer.append(feedback_payload({"episode_id": "e", "gold": 1}))
    with pytest.raises(DatabaseError):
        collector.step()
    sql("ALTER TABLE moved RENAME TO feedback")
    collector.drain()
    assert sql("SELECT count(*), count(DISTINCT trace_id) FROM traces") == [(2, 2)]
    writer.close()


def test_nothing_is_stored_on_a_disk_that_is_nearly_full(
    store: Store, folder: Path, sql: Sql
) -> None:
    write(folder, end_payload())
    collector = Collector(store, folder, CONTEXT, min_free_bytes=1 << 60)
    for _ in range(2):
        with pytest.raises(DiskFullError, match=r"gateway\.min_free_mb"):
            collector.step()
    assert ids(sql) == [] and len(list_segments(folder)) == 1
    # Down to half of what writers leave free the collector goes on: it empties the spool.
    free = free_bytes(folder)
    assert Collector(store, folder, CONTEXT, min_free_bytes=int(free * 1.5)).step().traces == 1


# the spool's bounds, end to end


def test_what_a_full_spool_dropped_is_counted_in_the_store(
    collector: Collector, folder: Path, sql: Sql
) -> None:
    recorder = Recorder(
        lambda: SpoolWriter(folder, segment_bytes=1 << 14, max_bytes=1 << 16), worker="w9"
    )
    for _ in range(500):
        recorder.record(end_payload(), TS_US)
    assert recorder.full and recorder.written > 10
    collector.drain()
    recorder.close()
    collector.drain()
    assert sql("SELECT count(*) FROM traces") == [(recorder.written,)]
    assert sql("SELECT worker, reason, n FROM gaps") == [("w9", "quota", recorder.dropped["quota"])]
    assert recorder.accepted == 500 == recorder.written + recorder.dropped["quota"]


def test_old_leftovers_are_removed(store: Store, folder: Path) -> None:
    folder.mkdir()
    (folder / "dead-1-00000001.seg.new").touch()
    Collector(store, folder, CONTEXT, clock=lambda: 4e9).step()
    assert list(folder.iterdir()) == []


def test_the_request_is_stored_as_it_came(collector: Collector, folder: Path, sql: Sql) -> None:
    request = json.dumps({"model": "m", "messages": [], "x": {"y": [1, "ü\u0000"]}}).encode()
    write(folder, pack(*end(request, completion("a"))))
    collector.step()
    ((stored,),) = sql("SELECT request FROM traces")
    assert json.loads(stored) == json.loads(request)
