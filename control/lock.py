"""A lock file: one process holds it, and the kernel frees it however that process ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from control.errors import Refused


class Held(Refused):
    """Another process holds the lock."""


class FileLock:
    """Holds the lock from construction to `close`.

    Raises `Held` where another process has it. ``who``: what that process is; ``way_out``: what to
    do about it.
    """

    def __init__(self, path: Path, *, who: str, way_out: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip()
            self.close()
            raise Held(
                f"{path}: another {who} (process {holder or 'unknown'}) has this data folder: "
                f"{way_out}"
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Let go. The file stays: only its lock means something."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> FileLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
