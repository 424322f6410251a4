from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.polling import until
from traces.spool import SpoolFull, SpoolWriter, is_orphan, list_segments, read_frames, usage
from traces.spool.segments import writers_present

SMALL = 4096


def stored(folder: Path) -> list[bytes]:
    return [
        payload
        for segment in list_segments(folder)
        for payload in read_frames(segment.path, 0).payloads
    ]


def test_frames_are_readable_when_append_returns(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    writer.append(b"one")
    writer.append(b"two")
    assert stored(tmp_path) == [b"one", b"two"]
    writer.close()
    assert [segment.path.stat().st_size for segment in list_segments(tmp_path)] == [22]


def test_segments_roll_in_order_and_keep_every_frame(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, name="gateway-1", segment_bytes=SMALL)
    wanted = [b"%04d" % i * 100 for i in range(100)]
    for payload in wanted:
        writer.append(payload)
    writer.close()
    segments = list_segments(tmp_path)
    assert stored(tmp_path) == wanted
    assert [segment.seq for segment in segments] == list(range(1, len(segments) + 1))
    assert {segment.writer for segment in segments} == {writer.id}
    assert writer.id.startswith("gateway_1-")
    assert len(segments) > 5


def test_a_frame_larger_than_a_segment_gets_one_of_its_own(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, segment_bytes=SMALL)
    big = os.urandom(10 * SMALL)
    for payload in (b"small", big, b"after"):
        writer.append(payload)
    assert stored(tmp_path) == [b"small", big, b"after"]
    writer.close()


def test_an_empty_frame_and_a_closed_writer_are_refused(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    with pytest.raises(ValueError, match="empty payload"):
        writer.append(b"")
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.append(b"x")


def test_the_lock_tells_who_lives(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    (segment,) = list_segments(tmp_path)
    assert not is_orphan(segment.path)
    writer.close()
    assert is_orphan(segment.path)


def test_a_live_writer_always_holds_a_segment(tmp_path: Path) -> None:
    # Regression: create, then lock let the collector see a fresh, unlocked segment, and delete it.
    # Whoever finds a writer's newest segment unlocked must find a newer one, or a `.new`, by then.
    writer = SpoolWriter(tmp_path, segment_bytes=SMALL)
    stop = threading.Event()

    def roll() -> None:
        while not stop.is_set():
            writer.append(bytes(SMALL - 8))
            for segment in list_segments(tmp_path)[:-2]:
                segment.path.unlink()

    thread = threading.Thread(target=roll)
    thread.start()
    try:
        tested = 0
        while tested < 500:
            newest = max(list_segments(tmp_path), key=lambda segment: segment.seq)
            try:
                orphan = is_orphan(newest.path)
            except FileNotFoundError:
                continue
            tested += 1
            if orphan:
                later = max(segment.seq for segment in list_segments(tmp_path))
                assert later > newest.seq
            assert writers_present(tmp_path) == {writer.id}
    finally:
        stop.set()
        thread.join()
        writer.close()


def test_the_quota_holds_and_ends_when_segments_are_removed(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, segment_bytes=SMALL, max_bytes=4 * SMALL)
    payload, accepted = bytes(1000), 0
    with pytest.raises(SpoolFull, match="max_spool_mb") as full:
        while True:
            writer.append(payload)
            accepted += 1
    assert full.value.reason == "quota"
    assert usage(tmp_path).waiting <= 4 * SMALL
    assert len(stored(tmp_path)) == accepted
    # all segments are sealed: the collector can take them away
    for segment in list_segments(tmp_path):
        assert is_orphan(segment.path)
        segment.path.unlink()
    writer.append(payload)
    assert stored(tmp_path) == [payload]
    writer.close()


def test_a_frame_above_the_quota_hurts_no_other(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, max_bytes=4 * SMALL)
    writer.append(b"before")
    with pytest.raises(SpoolFull, match="above the spool's limit") as full:
        writer.append(bytes(5 * SMALL))
    assert full.value.reason == "too_large"
    writer.append(b"after")
    assert stored(tmp_path) == [b"before", b"after"]
    writer.close()


@pytest.mark.parametrize("room", [0, 30], ids=["refused", "cut"])
def test_a_frame_that_the_disk_refuses_or_cuts_lies_in_front_of_no_other(
    tmp_path: Path, room: int
) -> None:
    writer = SpoolWriter(tmp_path)
    writer.append(b"one")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (11 + room, limits[1]))
    try:
        with pytest.raises((SpoolFull, OSError)):
            writer.append(b"x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    writer.append(b"two")
    assert stored(tmp_path) == [b"one", b"two"]
    assert len(list_segments(tmp_path)) == 2, "what was cut ends its segment"
    writer.close()


def test_a_folder_that_can_not_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError):
        SpoolWriter(tmp_path / "file" / "spool")


def test_a_subprocess_does_not_keep_the_lock(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    (segment,) = list_segments(tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False
    )
    try:
        writer.close()
        assert is_orphan(segment.path)
    finally:
        child.communicate(b"\n")


FORK = """
import os, sys
from pathlib import Path
from traces.spool import SpoolWriter
writer = SpoolWriter(Path(sys.argv[1]))
writer.append(b"parent")
ready, tell = os.pipe()
child = os.fork()
if child == 0:
    writer.append(b"child")
    os.write(tell, b"x")
    sys.stdin.readline()   # lives on while the parent dies
    os._exit(0)
os.read(ready, 1)
print(child, flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_forked_child_lets_go_of_its_parents_segment(tmp_path: Path) -> None:
    # Without that the child keeps the lock, and the dead parent's segment never becomes an orphan.
    parent = subprocess.Popen(
        [sys.executable, "-c", FORK, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdin is not None and parent.stdout is not None
    parent.stdout.readline()
    parent.wait()
    by_content = {
        read_frames(segment.path, 0).payloads[0]: segment for segment in list_segments(tmp_path)
    }
    try:
        assert is_orphan(by_content[b"parent"].path)
        assert not is_orphan(by_content[b"child"].path)
        assert by_content[b"parent"].writer != by_content[b"child"].writer
    finally:
        parent.stdin.close()
        parent.stdout.close()
    until(lambda: is_orphan(by_content[b"child"].path), what="the child's end")
