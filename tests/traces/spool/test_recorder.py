from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.polling import until
from traces.record import Gap, unpack
from traces.spool import Recorder, SpoolWriter, list_segments, read_frames

SMALL = 4096


def payloads(folder: Path) -> list[bytes]:
    return [
        payload
        for segment in list_segments(folder)
        for payload in read_frames(segment.path, 0).payloads
    ]


def empty(folder: Path) -> list[bytes]:
    found = payloads(folder)
    for segment in list_segments(folder):
        segment.path.unlink()
    return found


def small_recorder(folder: Path) -> Recorder:
    def writer() -> SpoolWriter:
        return SpoolWriter(folder, segment_bytes=SMALL, max_bytes=4 * SMALL)

    return Recorder(writer, worker="w1")


def test_a_full_spool_drops_whole_frames_counts_them_and_says_so_later(tmp_path: Path) -> None:
    recorder = small_recorder(tmp_path)
    ts = 0
    while recorder.record(b"%1000d" % ts, ts):
        ts += 1
    first_lost = ts
    for ts in range(first_lost + 1, first_lost + 50):
        recorder.record(b"%1000d" % ts, ts)
    assert recorder.full and not recorder.ready()
    assert recorder.accepted == first_lost + 50
    assert recorder.written == first_lost
    assert recorder.dropped == {"quota": 50}

    kept = empty(tmp_path)
    assert kept == [b"%1000d" % i for i in range(first_lost)]
    until(recorder.ready, what="room again")
    assert not recorder.full
    assert recorder.record(b"back", 999)
    gap, after = payloads(tmp_path)
    header, _, _ = unpack(gap)
    assert header == Gap(
        worker="w1", from_us=first_lost, to_us=first_lost + 49, dropped={"quota": 50}
    )
    assert after == b"back"
    assert recorder.accepted == recorder.written + sum(recorder.dropped.values())
    recorder.close()


def test_record_itself_finds_the_room_again(tmp_path: Path) -> None:
    recorder = small_recorder(tmp_path)
    while recorder.record(bytes(1000), 1):
        pass
    empty(tmp_path)
    until(lambda: recorder.record(b"back", 2), what="a frame that is taken")
    assert recorder.accepted == recorder.written + sum(recorder.dropped.values())
    assert isinstance(unpack(payloads(tmp_path)[0])[0], Gap)
    recorder.close()


def test_a_frame_that_never_fits_does_not_stop_the_next(tmp_path: Path) -> None:
    recorder = small_recorder(tmp_path)
    assert not recorder.record(bytes(100_000), 5)
    assert recorder.record(b"next", 6)
    gap, after = payloads(tmp_path)
    header, _, _ = unpack(gap)
    assert isinstance(header, Gap) and header.dropped == {"too_large": 1}
    assert after == b"next"
    recorder.close()


def test_a_spool_that_can_not_be_opened_fails_nobody(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way")
    recorder = Recorder(lambda: SpoolWriter(tmp_path / "spool"), worker="w1")
    assert recorder.full
    assert not recorder.record(b"lost", 1)
    assert recorder.dropped == {"eexist": 1}
    (tmp_path / "spool").unlink()
    until(recorder.ready, what="the spool")
    assert recorder.record(b"kept", 2)
    recorder.close()
    assert payloads(tmp_path / "spool")[1] == b"kept"


def test_closing_writes_the_last_gap_and_later_frames_are_counted(tmp_path: Path) -> None:
    recorder = small_recorder(tmp_path)
    while recorder.record(bytes(1000), 1):
        pass
    empty(tmp_path)
    recorder.close()
    (gap,) = payloads(tmp_path)
    assert isinstance(unpack(gap)[0], Gap)
    assert not recorder.record(b"late", 2)
    assert recorder.dropped["closed"] == 1


@pytest.mark.parametrize("threads", [4])
def test_threads_share_a_recorder(tmp_path: Path, threads: int) -> None:
    recorder = Recorder(lambda: SpoolWriter(tmp_path, segment_bytes=SMALL), worker="host")

    def work(thread: int) -> None:
        for i in range(500):
            recorder.record(b"%d/%d" % (thread, i), i)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    recorder.close()
    assert sorted(payloads(tmp_path)) == sorted(
        b"%d/%d" % (n, i) for n in range(threads) for i in range(500)
    )
    assert recorder.written == threads * 500
