"""The writing end of the spool: one `SpoolWriter` in each process, one `pwrite` a frame.

What `append` returned from lies in the page cache, so it survives a `kill -9` of this process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import weakref
from pathlib import Path
from typing import NoReturn

from traces.spool.disk import default_max_bytes, default_reserve, free_bytes
from traces.spool.frames import HEADER, MAX_PAYLOAD, encode
from traces.spool.segments import segment_name, usage

SEGMENT_BYTES = 8 << 20
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


class SpoolFull(Exception):
    """The spool has no room for a frame; nothing of it was recorded."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        #: ``quota`` (the spool's limit), ``reserve`` (the disk is nearly full), ``disk`` (no space
        #: left at all), ``too_large`` (above the limit)
        self.reason = reason


class SpoolWriter:
    """Appends frames to segment files of its own. Not for several threads at once: `Recorder` is.

    Opens its first segment at once. A forked child gets segments of its own, and lets go of its
    parent's lock.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        max_bytes: int | None = None,
        min_free_bytes: int | None = None,
    ) -> None:
        """Open a spool folder, made if it is not there.

        ``name`` begins the names of the segments. ``max_bytes`` bounds the folder, all writers
        together; the default is 4 GB or a tenth of the disk, whichever is less. No segment is begun
        that would leave less than ``min_free_bytes`` of the disk free; the default is 2 GB or a
        twentieth of the disk. Raises `SpoolFull`, or `OSError` for a folder that can't be written.
        """
        self.folder = folder
        self._name = re.sub(r"[^A-Za-z0-9_.]", "_", name) + "-" if name else ""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.max_bytes = default_max_bytes(folder) if max_bytes is None else max_bytes
        self._reserve = default_reserve(folder) if min_free_bytes is None else min_free_bytes
        # two segments must fit: the next one is made before the last is let go
        self._segment_bytes = min(segment_bytes, self.max_bytes // 2)
        self._fd = -1
        self._closed = False
        self._begin()
        self._roll(0)
        _open_writers.add(self)

    @property
    def id(self) -> str:
        """The writer's name in its segments; unique for ever."""
        return self._id

    def append(self, payload: bytes) -> None:
        """Record one frame, which must not be empty.

        Raises `SpoolFull` when there is no room, `OSError` when the disk fails.
        """
        if not payload:
            raise ValueError(
                "an empty payload can't be recorded: length 0 marks the end of a segment"
            )
        size = len(payload) + HEADER.size
        if self._position + size > self._size:
            self._roll(size)
        try:
            written = os.pwrite(self._fd, encode(payload), self._position)
        except OSError as error:
            self._seal()
            _raise(error, self.folder)
        if written != size:
            # the rest of a cut frame must not lie in front of later ones: this segment ends here
            self._seal()
            raise SpoolFull(f"{self.folder}: no space left on the disk", reason="disk")
        self._position += size

    def close(self) -> None:
        """Seal the last segment. A writer that was closed may not append again."""
        _open_writers.discard(self)
        self._closed = True
        self._seal()

    def _begin(self) -> None:
        self._id = f"{self._name}{os.urandom(6).hex()}-{os.getpid()}"
        self._seq = 0
        self._position = self._size = 0

    def _roll(self, size: int) -> None:
        """Go on in a new segment, with room for ``size`` bytes.

        It exists, locked, before the old one is let go: a live writer is never unseen.
        """
        if self._closed:
            raise ValueError(f"{self.folder}: this writer is closed")
        try:
            fd, length = self._open(max(size, self._segment_bytes), size)
        except SpoolFull as error:
            # sealed, the old one can be collected, which is what makes room again; a frame that
            # never fits changes nothing for the others
            if error.reason != "too_large":
                self._seal()
            raise
        self._seal()
        self._fd, self._size = fd, length

    def _open(self, length: int, size: int) -> tuple[int, int]:
        limit = self.max_bytes
        if length > min(limit, MAX_PAYLOAD):
            message = (
                f"{self.folder}: a frame of {size} bytes is above the spool's limit of {limit}"
            )
            raise SpoolFull(message, reason="too_large")
        if usage(self.folder).waiting + length > limit:
            message = (
                f"{self.folder}: the spool's limit of {limit} bytes is reached. "
                "Start control, which empties it, or raise gateway.max_spool_mb."
            )
            raise SpoolFull(message, reason="quota")
        if free_bytes(self.folder) - length < self._reserve:
            message = (
                f"{self.folder}: less than {self._reserve >> 20} MB of the disk would be free. "
                "Make room there, or lower gateway.min_free_mb."
            )
            raise SpoolFull(message, reason="reserve")
        self._seq += 1
        path = self.folder / segment_name(self._id, self._seq)
        new = path.with_name(path.name + ".new")
        try:
            fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            _raise(error, self.folder)
        try:
            # lock first, rename after: an unlocked fresh segment would be taken for an orphan
            fcntl.flock(fd, fcntl.LOCK_EX)
            _allocate(fd, length)
            os.rename(new, path)
        except OSError as error:
            os.close(fd)
            with contextlib.suppress(OSError):
                os.unlink(new)
            _raise(error, self.folder)
        return fd, length

    def _seal(self) -> None:
        fd, self._fd = self._fd, -1
        position, self._position, self._size = self._position, 0, 0
        if fd >= 0:
            with contextlib.suppress(OSError):  # the zeros may stay; a reader stops at them
                os.ftruncate(fd, position)
            os.close(fd)  # lets go of the lock

    def _start_over_in_child(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)  # the parent's descriptor keeps the parent's lock
            self._fd = -1
        self._begin()


def _allocate(fd: int, length: int) -> None:
    # with the blocks allocated, a full disk shows here and never inside a frame; where the call is
    # missing (macOS) the file is sparse, and a frame may be refused in the middle of a segment
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, length)
    else:  # pragma: no cover
        os.ftruncate(fd, length)


def _raise(error: OSError, folder: Path) -> NoReturn:
    if error.errno in _NO_SPACE:
        raise SpoolFull(f"{folder}: no space left on the disk", reason="disk") from error
    raise error


#: A child that inherits a descriptor keeps its lock alive after the parent's death, and the segment
#: never becomes an orphan: children close theirs.
_open_writers: weakref.WeakSet[SpoolWriter] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for writer in list(_open_writers):
        writer._start_over_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
