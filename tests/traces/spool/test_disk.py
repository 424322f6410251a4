from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from traces.spool import Recorder, SpoolFull, SpoolWriter, list_segments
from traces.spool.disk import default_max_bytes, default_reserve, free_bytes

GB = 1 << 30
#: more than any disk has
HUGE = 1 << 60


def test_the_defaults_follow_the_disk(tmp_path: Path) -> None:
    size = shutil.disk_usage(tmp_path).total
    assert default_reserve(tmp_path) == min(2 * GB, int(size * 0.05))
    assert default_max_bytes(tmp_path) == min(4 * GB, int(size * 0.10))


def test_no_segment_is_begun_below_the_reserve(tmp_path: Path) -> None:
    with pytest.raises(SpoolFull, match=r"gateway\.min_free_mb") as full:
        SpoolWriter(tmp_path, min_free_bytes=HUGE)
    assert full.value.reason == "reserve"
    assert list_segments(tmp_path) == []


def test_a_segment_counts_against_the_reserve(tmp_path: Path) -> None:
    # Room for one more segment, and not for two: others on this disk move less than that meanwhile.
    segment = 256 << 20
    reserve = free_bytes(tmp_path) - segment - segment // 2
    writer = SpoolWriter(
        tmp_path, segment_bytes=segment, max_bytes=4 * segment, min_free_bytes=reserve
    )
    with pytest.raises(SpoolFull) as full:
        SpoolWriter(tmp_path, segment_bytes=segment, max_bytes=4 * segment, min_free_bytes=reserve)
    assert full.value.reason == "reserve"
    writer.append(b"what is begun goes on")
    writer.close()


def test_a_recorder_says_once_why_it_drops(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(lambda: SpoolWriter(tmp_path, min_free_bytes=HUGE), worker="w1")
    for _ in range(3):
        assert not recorder.record(b"frame", 1)
    assert recorder.dropped == {"reserve": 3}
    assert caplog.text.count("frames are dropped") == 1
    recorder.close()
