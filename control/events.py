"""The rollouts' event log on disk: the truth about every rollout. Append-only, hash-chained.

A row that `append` returned is on the disk. What follows the last newline was never acknowledged:
a crash tore it, and it is cut off.
"""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

import msgspec

from control.errors import FileProblem
from control.files import sync_folder
from router.chain import GENESIS, line, seal, verify
from router.errors import ChainError
from router.events import RolloutEvent
from traces.store import Store

_log = logging.getLogger("limbeck.control")


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
        end = os.lseek(self._descriptor, 0, os.SEEK_END)
        data = line(sealed) + b"\n"
        try:
            written = os.write(self._descriptor, data)
            if written != len(data):
                raise OSError(f"only {written} of {len(data)} bytes could be written")
            os.fsync(self._descriptor)
        except OSError as error:
            if os.fstat(self._descriptor).st_size > end:
                os.ftruncate(self._descriptor, end)
            raise FileProblem(
                f"{self.path}: event {sealed.event.value} of {sealed.route} could not be written "
                f"({error}): free some space there; nothing has changed"
            ) from error
        self._events.append(sealed)
        return sealed

    def close(self) -> None:
        """Give the log up."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

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
            raise BrokenChain(
                f"{self.path}: {error}. No student gets traffic until this is settled: restore the "
                "file from a backup, or move it away to begin with no students"
            ) from error


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


class _Copied(msgspec.Struct, frozen=True, kw_only=True):
    seq: int


def copy_events(log: EventLog, store: Store) -> int:
    """Copy new rows into ``rollout_events``, where reports and people look; returns how many."""
    copied = store.one("last_copied_event", _Copied)
    fresh = log.events[copied.seq if copied else 0 :]
    if not fresh:
        return 0
    with store.transaction():
        for event in fresh:
            store.run(
                "insert_event",
                seq=event.seq,
                ts_us=round(event.ts * 1e6),
                route=event.route,
                student=event.student,
                event=event.event.value,
                stage_from=event.stage_from,
                stage_to=event.stage_to,
                actor=event.actor,
                reason=event.reason,
                report=event.report,
                body=line(event).decode(),
                prev_hash=event.prev_hash,
                hash=event.hash,
            )
    return len(fresh)
