"""Small files that other processes read or write meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

#: mtime_ns, inode, size: equal as long as nobody wrote or replaced the file
Stamp = tuple[int, int, int]


def stamp_of(path: Path | str) -> Stamp:
    """Return what changes with the file; raise `FileNotFoundError`."""
    status = os.stat(path)
    return status.st_mtime_ns, status.st_ino, status.st_size


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file: a reader sees the old or the new text, also after a power loss."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
