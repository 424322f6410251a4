"""Recording without ever failing a request: the `availability` policy with exact counters."""

from __future__ import annotations

import errno
import logging
import math
import threading
import time
from collections.abc import Callable

from traces.record import Gap, pack
from traces.spool.writer import SpoolFull, SpoolWriter

#: pause between two attempts while the spool is full
_RETRY_S = 0.25

logger = logging.getLogger(__name__)


class Recorder:
    """Takes frames, writes them or counts them as dropped; thread-safe, and raises nothing.

    Always ``accepted == written + sum(dropped.values())``. When there is room again, a `Gap` frame
    says what is missing before the next frame is written. Gap frames are in none of the counters.
    """

    def __init__(self, writer_factory: Callable[[], SpoolWriter], *, worker: str) -> None:
        """Open the spool; a spool that can't be opened now is tried again later.

        ``worker`` names this process in gap frames.
        """
        self.accepted = 0
        self.written = 0
        #: reason -> frames: those of `SpoolFull`, ``closed``, or an error's name such as ``eio``
        self.dropped: dict[str, int] = {}
        #: frames are being dropped
        self.full = False
        self._factory = writer_factory
        self._worker = worker
        self._writer: SpoolWriter | None = None
        self._reason = ""
        self._retry_at = 0.0
        self._gap: dict[str, int] = {}
        self._gap_from_us = self._gap_to_us = 0
        # invariant: the counters, the gap and the writer's position change together
        self._lock = threading.Lock()
        self._open()

    def record(self, payload: bytes, ts_us: int) -> bool:
        """Record a frame of the time ``ts_us`` (Unix microseconds); False: dropped and counted."""
        with self._lock:
            self.accepted += 1
            if self.full and not self._resume():
                self._drop(ts_us)
                return False
            try:
                assert self._writer is not None  # not full: it is open
                self._writer.append(payload)
            except (SpoolFull, OSError) as error:
                self._stop(error)
                self._drop(ts_us)
                return False
            self.written += 1
            return True

    def ready(self) -> bool:
        """Tell whether there is room now; tries to get some, at most four times a second.

        For the `audit` policy, which refuses a request that it can't record.
        """
        with self._lock:
            return not self.full or self._resume()

    def close(self) -> None:
        """Write the last gap, if there is room, and seal the segment."""
        with self._lock:
            if self.full:
                self._retry_at = 0.0
                self._resume()
            if self._writer is not None:
                self._writer.close()
            self.full, self._reason, self._retry_at = True, "closed", math.inf

    def _open(self) -> None:
        try:
            self._writer = self._factory()
        except (SpoolFull, OSError) as error:
            self._stop(error)

    def _resume(self) -> bool:
        """Try to get out of `full`; the gap comes first."""
        if time.monotonic() < self._retry_at:
            return False
        if self._writer is None:
            self._open()
        if self._writer is None:
            return False
        if self._gap:
            try:
                self._writer.append(pack(self._gap_frame()))
            except (SpoolFull, OSError) as error:
                self._stop(error)
                return False
            self._gap = {}
        self.full = False
        logger.info("the spool takes frames again")
        return True

    def _stop(self, error: SpoolFull | OSError) -> None:
        if not self.full:
            logger.error("frames are dropped, and counted: %s", error)
        self.full = True
        if isinstance(error, SpoolFull):
            self._reason = error.reason
        else:
            self._reason = errno.errorcode.get(error.errno or 0, "error").lower()
        # one frame above the limit says nothing about the next one
        pause = 0.0 if self._reason == "too_large" else _RETRY_S
        self._retry_at = time.monotonic() + pause

    def _drop(self, ts_us: int) -> None:
        self.dropped[self._reason] = self.dropped.get(self._reason, 0) + 1
        if not self._gap:
            self._gap_from_us = self._gap_to_us = ts_us
        self._gap[self._reason] = self._gap.get(self._reason, 0) + 1
        self._gap_from_us = min(self._gap_from_us, ts_us)
        self._gap_to_us = max(self._gap_to_us, ts_us)

    def _gap_frame(self) -> Gap:
        return Gap(
            worker=self._worker,
            from_us=self._gap_from_us,
            to_us=self._gap_to_us,
            dropped=dict(self._gap),
        )
