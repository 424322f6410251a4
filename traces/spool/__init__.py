"""The spool: append-only segment files that workers and hosts fill, and the collector empties.

Standard library and `traces.record` only. Local disk only: `flock` over a network is not reliable.
See docs/explanation/traces.md and docs/decisions/0002-spool-and-duckdb.md.
"""

from __future__ import annotations

from traces.spool.disk import default_reserve, free_bytes
from traces.spool.frames import Frames, end_of_frames, frame_follows, read_frames
from traces.spool.recorder import Recorder
from traces.spool.segments import (
    Segment,
    SpoolUsage,
    is_orphan,
    list_segments,
    quarantine,
    quarantined,
    remove_leftovers,
    usage,
)
from traces.spool.writer import SEGMENT_BYTES, SpoolFull, SpoolWriter

__all__ = [
    "SEGMENT_BYTES",
    "Frames",
    "Recorder",
    "Segment",
    "SpoolFull",
    "SpoolUsage",
    "SpoolWriter",
    "default_reserve",
    "end_of_frames",
    "frame_follows",
    "free_bytes",
    "is_orphan",
    "list_segments",
    "quarantine",
    "quarantined",
    "read_frames",
    "remove_leftovers",
    "usage",
]
