"""The rollouts' event log on disk: the truth about every rollout. Append-only, hash-chained.

A row that `append` returned is on the disk. What follows the last newline was never acknowledged:
a crash tore it, and it is cut off.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from control.errors import FileProblem
from control.files import sync_folder
from router.chain import GENESIS, line, seal, verify
from router.errors import ChainError
from router.events import RolloutEvent

_log = logging.getLogger("limbeck.control")
#: what to do about a log that can't be trusted
WAY_OUT = (
    "No student gets traffic until this is settled: restore the file from a backup, or move it "
    "away and start control again, which writes it anew from its copy in the trace store (rows "
    "that are not in the copy are lost then); to begin without history, set a new data folder"
)


class BrokenChain(FileProblem):
    """The log was changed, or a row is missing: no decision may rest on it."""


class EventLog:
    """Open log of one data folder; one process at a time.

    Raises `BrokenChain` where the chain does not hold, and `FileProblem` where the file can't be
    used at all.
    """

    #: why nothing can be decided; None: all is well
    problem: str | None = None

    def __init__(self, path: Path, *, code_version: str) -> None:
        self.path = path
        self._code_version = code_version
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = not path.exists()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if fresh:
                sync_folder(path.parent)
            self._events = self._read()
        except BlockingIOError:
            os.close(self._descriptor)
            raise FileProblem(f"{path}: another process holds the event log") from None
        except BaseException:
            os.close(self._descriptor)
            raise

    @property
    def events(self) -> tuple[RolloutEvent, ...]:
        """All rows, oldest first."""
        return tuple(self._events)

    @property
    def last_seq(self) -> int:
        return len(self._events)

    def append(self, event: RolloutEvent) -> RolloutEvent:
        """Seal ``event`` behind the last row, and return it once it is on the disk."""
        sealed = seal(
            event,
            seq=self.last_seq + 1,
            prev_hash=self._events[-1].hash if self._events else GENESIS,
            code_version=self._code_version,
        )
        self._write(line(sealed) + b"\n", what=f"event {sealed.event.value} of {sealed.route}")
        self._events.append(sealed)
        return sealed

    def lines(self) -> list[bytes]:
        """All rows as they were written: the chain holds for these bytes, whatever wrote them."""
        return self.path.read_bytes().split(b"\n")[: self.last_seq]

    def restore(self, lost: Sequence[bytes]) -> None:
        """Append rows that this log once had. Raises `ChainError` where they don't follow."""
        events = verify([*self.lines(), *lost])
        self._write(b"".join(row + b"\n" for row in lost), what=f"{len(lost)} lost rows")
        self._events = events

    def close(self) -> None:
        """Give the log up."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, data: bytes, *, what: str) -> None:
        """All of it, or nothing."""
        end = os.lseek(self._descriptor, 0, os.SEEK_END)
        try:
            written = os.write(self._descriptor, data)
            if written != len(data):
                raise OSError(f"only {written} of {len(data)} bytes could be written")
            os.fsync(self._descriptor)
        except OSError as error:
            if os.fstat(self._descriptor).st_size > end:
                os.ftruncate(self._descriptor, end)
            raise FileProblem(
                f"{self.path}: {what} could not be written ({error}): free some space there; "
                "nothing has changed"
            ) from error

    def _read(self) -> list[RolloutEvent]:
        data = self.path.read_bytes()
        whole, _, torn = data.rpartition(b"\n")
        if torn:
            keep = len(data) - len(torn)
            _log.warning(
                "%s: the last %d bytes are half a row that was never acknowledged: cut off",
                self.path,
                len(torn),
            )
            os.ftruncate(self._descriptor, keep)
            os.fsync(self._descriptor)
        try:
            return verify(whole.split(b"\n") if whole else [])
        except ChainError as error:
            raise BrokenChain(f"{self.path}: {error}. {WAY_OUT}") from error


class UnreadableLog(EventLog):
    """Stands for a log that can't be trusted: no rollouts, and nothing can be added."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        self.problem = problem
        self._events = []
        self._descriptor = -1

    def append(self, event: RolloutEvent) -> RolloutEvent:
        """Refuse."""
        raise BrokenChain(self.problem)
