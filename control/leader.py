"""One leading control per data folder: whoever holds the lock on `control.lock`."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from control.errors import StartRefused


class NotLeader(StartRefused):
    """Another control holds the lock of this data folder."""


class Leader:
    """Holds the lock from construction to `close`. Raises `NotLeader` where somebody else does."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise NotLeader(
                f"{path}: another limbeck control (process {holder or 'unknown'}) leads this data "
                "folder; stop it first, or start with another [control] data folder"
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Give the leadership up. The file stays: only its lock means something."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Leader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
