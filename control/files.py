"""Writing a small file so that a reader sees the old or the new one, and never a half."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Temporary file, fsync, rename, fsync of the folder. Makes the folder if it is missing."""
    with temporary_file(path, data, mode=mode) as temporary:
        os.replace(temporary, path)
    sync_folder(path.parent)


@contextmanager
def temporary_file(path: Path, data: bytes, *, mode: int = 0o644) -> Iterator[Path]:
    """What is to become ``path``, whole and on the disk; removed in the end unless it was moved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A leading dot: readers of the folder skip it. Random: two writers never share it.
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(temporary, flags, mode)
        # Whatever the umask of the one who writes: others of limbeck's processes read it.
        os.fchmod(descriptor, mode)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename inside the folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
