"""The worker's acknowledgement: one small file, locked while the worker lives."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from pathlib import Path

import msgspec

from gateway.errors import WorkerStartError
from router.snapshot import Acknowledgement

#: who only looks whether a worker lives holds the lock for microseconds; tried again so long
_LOCK_S = 1.0

logger = logging.getLogger(__name__)


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
        self._failed = False

    def write(self, acknowledgement: Acknowledgement) -> None:
        """Write, if anything but the time has changed.

        A disk that takes no byte stops no worker: it obeys all the same, and whoever waits for its
        word names it as missing.
        """
        if self._last is not None and acknowledgement == msgspec.structs.replace(
            self._last, time=acknowledgement.time
        ):
            return
        # Never shorter than before: no reader sees the end of an older text.
        data = msgspec.json.encode(acknowledgement).ljust(self._length)
        try:
            os.pwrite(self._fd, data, 0)
        except OSError as error:
            if not self._failed:
                self._failed = True
                logger.error("%s can't be written: %s; free some space there", self.path, error)
            return
        self._failed = False
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
