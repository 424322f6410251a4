from __future__ import annotations

import fcntl
import os
from pathlib import Path

from traces.spool import (
    SpoolWriter,
    list_segments,
    quarantine,
    quarantined,
    remove_leftovers,
    usage,
)
from traces.spool.segments import segment_name, writer_of, writers_present


def test_names_tell_writer_and_order(tmp_path: Path) -> None:
    for name in ("b-1-00000002.seg", "b-1-00000010.seg", "a-00000001.seg", "notes.txt", "x.seg"):
        (tmp_path / name).touch()
    (tmp_path / "c-00000001.seg.new").touch()
    assert [segment.name for segment in list_segments(tmp_path)] == [
        "a-00000001.seg",
        "b-1-00000002.seg",
        "b-1-00000010.seg",
    ]
    assert writers_present(tmp_path) == {"a", "b-1", "c"}
    assert writer_of(segment_name("w-7", 3)) == "w-7"


def test_leftovers_go_only_when_old_and_without_a_writer(tmp_path: Path) -> None:
    old_dead, old_live, fresh = (tmp_path / f"{n}-00000001.seg.new" for n in "abc")
    for path in (old_dead, old_live, fresh):
        path.touch()
    for path in (old_dead, old_live):
        os.utime(path, (1000, 1000))
    os.utime(fresh, (4990, 4990))
    fd = os.open(old_live, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert remove_leftovers(tmp_path, now=5000) == 1
    assert not old_dead.exists() and old_live.exists() and fresh.exists()
    os.close(fd)
    assert remove_leftovers(tmp_path, now=5000) == 1


def test_a_quarantined_segment_is_out_of_the_way_and_still_there(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    writer.append(b"x" * 100)
    writer.close()
    (segment,) = list_segments(tmp_path)
    data = segment.path.read_bytes()
    assert quarantined(tmp_path) == []
    moved = quarantine(segment.path)
    assert moved.read_bytes() == data
    assert list_segments(tmp_path) == []
    used = usage(tmp_path)
    assert used.waiting == 0 and used.quarantined > 0
    assert quarantined(tmp_path) == [(moved, moved.stat().st_mtime)]


def test_an_absent_folder_uses_nothing(tmp_path: Path) -> None:
    assert usage(tmp_path / "none").waiting == 0
