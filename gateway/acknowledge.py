"""The worker's acknowledgement: one small file, locked while the worker lives."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import msgspec

from gateway.errors import WorkerStartError
from router.snapshot import Acknowledgement

_LOCK_S = 0.5


class AcknowledgementFile:
    """Written in place, so that the lock stays; a reader always finds valid JSON."""

    def __init__(self, folder: Path, worker: str) -> None:
        """Open and lock the file; raise `WorkerStartError` if another worker has this name."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{worker}.json"
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _locked(self._fd):
            os.close(self._fd)
            raise WorkerStartError(
                f"{self.path} is locked: a worker named {worker!r} runs already; give each worker"
                " its own name"
            )
        # What an earlier worker of this name wrote stays until the first write: never half a text.
        self._length = os.fstat(self._fd).st_size
        self._last: Acknowledgement | None = None

    def write(self, acknowledgement: Acknowledgement) -> None:
        """Write, if anything but the time has changed."""
        if self._last is not None and acknowledgement == msgspec.structs.replace(
            self._last, time=acknowledgement.time
        ):
            return
        # Never shorter than before: no reader sees the end of an older text.
        data = msgspec.json.encode(acknowledgement).ljust(self._length)
        os.pwrite(self._fd, data, 0)
        self._length = len(data)
        self._last = acknowledgement

    def close(self) -> None:
        """Let go of the lock; the file stays, as that of a dead worker."""
        os.close(self._fd)


def _locked(fd: int) -> bool:
    """Take the lock; who only looks whether a worker lives holds it for a moment."""
    give_up = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up:
                return False
            time.sleep(0.01)
        else:
            return True
