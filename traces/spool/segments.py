"""Segment files as the collector sees them: names, order, who is alive, what is left over.

A live writer holds `flock` on its open segment. The kernel drops the lock at death, so a segment
that can be locked is sealed or orphaned, and nothing is ever appended to it again.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

SUFFIX = ".seg"
#: a segment under construction; becomes ``.seg`` by rename once it is locked
NEW_SUFFIX = ".seg.new"
QUARANTINE = "quarantine"


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """One segment file, ``WRITER-SEQ.seg``."""

    path: Path
    #: the process that wrote it; a name is never used twice
    writer: str
    seq: int

    @property
    def name(self) -> str:
        return self.path.name


@dataclass(frozen=True, kw_only=True, slots=True)
class SpoolUsage:
    """Bytes that a spool folder takes on the disk."""

    waiting: int
    quarantined: int


def segment_name(writer: str, seq: int) -> str:
    return f"{writer}-{seq:08d}{SUFFIX}"


def writer_of(name: str) -> str | None:
    """Return the writer of a finished or new segment file, None for any other file."""
    stem = name.removesuffix(".new")
    if not stem.endswith(SUFFIX):
        return None
    writer, _, seq = stem.removesuffix(SUFFIX).rpartition("-")
    return writer if writer and seq.isdecimal() else None


def list_segments(folder: Path) -> list[Segment]:
    """Return the segments of a spool, each writer's in the order of writing."""
    found = []
    for name in os.listdir(folder):
        writer = writer_of(name)
        if writer is not None and name.endswith(SUFFIX):
            seq = int(name[len(writer) + 1 : -len(SUFFIX)])
            found.append(Segment(path=folder / name, writer=writer, seq=seq))
    return sorted(found, key=lambda segment: (segment.writer, segment.seq))


def writers_present(folder: Path) -> set[str]:
    """Return the writers that have any segment in the folder, new ones too.

    A writer makes its next segment before it lets go of the last, so one that is missing is gone.
    """
    return {writer for name in os.listdir(folder) if (writer := writer_of(name)) is not None}


def is_orphan(path: Path) -> bool:
    """Tell whether no live writer holds the segment: it is sealed, or its writer died.

    Test this before reading: after a positive answer "read to the end" is final.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def quarantine(path: Path) -> Path:
    """Move a damaged segment to the folder ``quarantine`` and return its new place."""
    folder = path.parent / QUARANTINE
    folder.mkdir(exist_ok=True)
    return path.rename(folder / path.name)


def quarantined(folder: Path) -> list[tuple[Path, float]]:
    """Return the damaged segments, each with the moment of its last write (Unix seconds)."""
    try:
        return [
            (Path(entry.path), entry.stat().st_mtime) for entry in os.scandir(folder / QUARANTINE)
        ]
    except FileNotFoundError:
        return []


def remove_leftovers(folder: Path, *, now: float, older_than_s: float = 60.0) -> int:
    """Delete ``.seg.new`` files whose writer died before the rename, and return how many.

    A writer locks its new file right after it created it; the age keeps us out of that moment.
    """
    removed = 0
    for path in folder.glob(f"*{NEW_SUFFIX}"):
        try:
            if now - path.stat().st_mtime > older_than_s and is_orphan(path):
                path.unlink()
                removed += 1
        except FileNotFoundError:
            continue  # renamed or removed meanwhile
    return removed


def usage(folder: Path) -> SpoolUsage:
    """Measure a spool folder; files that vanish meanwhile count as nothing."""
    return SpoolUsage(waiting=_blocks(folder), quarantined=_blocks(folder / QUARANTINE))


def _blocks(folder: Path) -> int:
    total = 0
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return 0
    for entry in entries:
        try:
            if entry.is_file(follow_symlinks=False):
                total += entry.stat(follow_symlinks=False).st_blocks * 512
        except FileNotFoundError:
            continue  # the collector removed it meanwhile
    return total
