"""Whatever is killed, every acknowledged frame is in the store exactly once."""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from tests.traces.frames import end_payload, new_id
from tests.traces.store import processes
from traces.spool import SpoolWriter, list_segments

SECONDS = 8.0


@dataclass
class Writer:
    process: subprocess.Popen[bytes]
    reader: threading.Thread


def start_writer(folder: Path, acknowledged: list[bytes]) -> Writer:
    read_end, write_end = os.pipe()
    process = processes.start(processes.write_frames, folder, write_end, pass_fds=(write_end,))
    os.close(write_end)

    def read() -> None:
        with os.fdopen(read_end, "rb") as pipe:
            data = pipe.read()
        acknowledged.extend(data[at : at + 16] for at in range(0, len(data) - 15, 16))

    reader = threading.Thread(target=read)
    reader.start()
    return Writer(process=process, reader=reader)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@pytest.mark.slow
def test_kills_of_writers_and_collector_lose_and_double_nothing(tmp_path: Path) -> None:
    folder, database = tmp_path / "spool", tmp_path / "limbeck.duckdb"
    chance, acknowledged = random.Random(7), list[bytes]()
    writers = [start_writer(folder, acknowledged) for _ in range(3)]
    readers = [writer.reader for writer in writers]
    collector = processes.start(processes.collect, database, folder)
    kills = 0
    schedule, deadline = threading.Event(), time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        schedule.wait(chance.uniform(0.3, 1.0))
        kills += 1
        if chance.random() < 0.5:
            at = chance.randrange(len(writers))
            kill(writers[at].process)
            writers[at] = start_writer(folder, acknowledged)
            readers.append(writers[at].reader)
        else:
            kill(collector)
            collector = processes.start(processes.collect, database, folder)
    for writer in writers:
        kill(writer.process)
    kill(collector)
    for reader in readers:
        reader.join()
    drain = processes.start(processes.collect, database, folder, "drain")
    assert drain.wait() == 0

    with duckdb.connect(str(database)) as connection:
        done = connection.execute("SELECT trace_id FROM traces WHERE state = 'done'").fetchall()
        rows = connection.execute("SELECT count(*), count(DISTINCT trace_id) FROM traces")
        ((total, distinct),) = rows.fetchall()
        left = connection.execute(
            "SELECT (SELECT count(*) FROM ingest_ledger), (SELECT count(*) FROM open_requests),"
            " (SELECT count(*) FROM dead_letters), count(*) FROM traces WHERE state = 'open'"
        ).fetchall()
    wanted = {uuid.UUID(bytes=trace_id) for trace_id in acknowledged}
    assert kills > 5 and len(wanted) > 500
    assert wanted <= {trace_id for (trace_id,) in done}
    assert total == distinct
    # appended, and killed before the acknowledgement: at most one a killed writer
    assert len(done) - len(wanted) <= len(readers)
    assert left == [(0, 0, 0, 0)]
    assert list_segments(folder) == []


def test_commits_that_fail_lose_and_double_nothing(tmp_path: Path) -> None:
    folder, database = tmp_path / "spool", tmp_path / "limbeck.duckdb"
    wanted = [new_id() for _ in range(600)]
    writer = SpoolWriter(folder)
    for trace_id in wanted:
        writer.append(end_payload(trace_id, text=trace_id * 30))
    writer.close()
    run = subprocess.run(
        processes.command(processes.collect_on_a_full_disk, database, folder),
        cwd=processes.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 0, "no commit failed: the test tests nothing"
    with duckdb.connect(str(database)) as connection:
        stored = connection.execute("SELECT trace_id FROM traces").fetchall()
    assert sorted(str(trace_id) for (trace_id,) in stored) == sorted(wanted)
