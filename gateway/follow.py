"""Following the snapshot: polled every 100 ms, swapped as one object, acknowledged in a file.

Only a driver: what a state means is in `gateway.in_force`, what it decides in `router.assign`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from gateway.acknowledge import AcknowledgementFile
from gateway.breakers import Breakers
from gateway.compile import Compiler, parse_snapshot
from gateway.errors import SnapshotError
from gateway.files import Stamp, stamp_of, write_atomically
from gateway.in_force import InForce
from gateway.overrides import OverrideFolder
from router.snapshot import Acknowledgement, Override, Snapshot

POLL_S = 0.1

logger = logging.getLogger(__name__)


class Follower:
    """Holds what is in force, and keeps it up to date."""

    def __init__(
        self,
        *,
        snapshot: Path,
        last_good: Path,
        overrides: OverrideFolder,
        acknowledgement: AcknowledgementFile,
        compiler: Compiler,
        breakers: Breakers,
        worker: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        #: None: there never was a snapshot
        self.in_force: InForce | None = None
        #: times that the snapshot file or the overrides' folder became unusable
        self.errors = 0
        self._snapshot = snapshot
        self._last_good = last_good
        self._overrides = overrides
        self._acknowledgement = acknowledgement
        self._compiler = compiler
        self._breakers = breakers
        self._worker = worker
        self._clock = clock
        self._stamp: Stamp | None = None
        self._saved: tuple[int, int, str] | None = None
        #: why the snapshot file can't be used; None: it can
        self._problem: str | None = None
        #: it was told that there is no first snapshot yet
        self._awaited = False
        #: why the overrides can't be listed; None: they can
        self._unlisted: str | None = None
        #: the overrides listed last, by route
        self._overridden: dict[str, Override] = {}

    async def run(self) -> None:
        """Poll until cancelled. A disk that is slow to save the copy never delays the next poll."""
        saving: asyncio.Task[None] | None = None
        unsaved = False
        while True:
            await asyncio.sleep(POLL_S)
            try:
                unsaved = self.poll() or unsaved
            except Exception:
                # Whatever it is, serving goes on with what is in force, and the next poll tries.
                logger.exception("the poll of the snapshot failed")
            if unsaved and (saving is None or saving.done()):
                unsaved = False
                saving = asyncio.create_task(asyncio.to_thread(self.save_last_good))

    def poll(self) -> bool:
        """Read what has changed; True if another snapshot is in force.

        Overrides are listed first: control removes one only after the snapshot that holds it is
        written, so one that is gone from the list is in the snapshot that is read next.
        """
        before = self.in_force
        self._read_overrides()
        self._read_snapshot()
        in_force, overrides = self.in_force, self._overridden
        leased = self._problem is None and self._unlisted is None
        if in_force is not None and (in_force.overrides, in_force.leased) != (overrides, leased):
            self.in_force = replace(in_force, overrides=overrides, leased=leased)
        self._acknowledge()
        return self.in_force is not None and (
            before is None or before.snapshot is not self.in_force.snapshot
        )

    def start(self) -> None:
        """Poll once; without a usable snapshot take the copy of the last good one, weightless."""
        self.poll()
        if self.in_force is not None:
            self.save_last_good()
            return
        try:
            snapshot = parse_snapshot(self._last_good.read_bytes())
            self.in_force = self._compiler.compile(snapshot, self._overridden)
        except FileNotFoundError:
            return
        except (SnapshotError, OSError) as error:
            logger.error("%s can't be used: %s", self._last_good, error)
            return
        self.in_force = replace(self.in_force, leased=False)
        self._saved = _identity(snapshot)
        self._acknowledge()
        logger.warning(
            "%s can't be used; serving with %s, every request goes to its teacher",
            self._snapshot,
            self._last_good,
        )

    def save_last_good(self) -> None:
        """Copy the snapshot in force, once for each version, for a start with a broken file."""
        if self.in_force is None:
            return
        snapshot = self.in_force.snapshot
        if self._saved == _identity(snapshot):
            return
        try:
            write_atomically(self._last_good, msgspec.json.encode(snapshot))
        except OSError as error:
            logger.error("%s can't be written: %s", self._last_good, error)
            return
        self._saved = _identity(snapshot)

    def _read_overrides(self) -> None:
        try:
            self._overridden = self._overrides.read()
            self._unlisted = None
        except OSError as error:
            # Those that are known stay in force; one that is new would not be obeyed.
            if str(error) != self._unlisted:
                self.errors += 1
                logger.error(
                    "the overrides can't be listed: %s; every request goes to its teacher until"
                    " they can",
                    error,
                )
            self._unlisted = str(error)

    def _read_snapshot(self) -> None:
        try:
            stamp = stamp_of(self._snapshot)
            if stamp == self._stamp:
                return
            self._stamp = stamp
            snapshot = parse_snapshot(self._snapshot.read_bytes())
            if self._take(snapshot):
                self._problem = None
        except SnapshotError as error:
            self._broken(str(error))
        except OSError as error:
            # The next poll tries again: the file may be the same, and readable by then.
            self._stamp = None
            if not isinstance(error, FileNotFoundError):
                self._broken(str(error))
            elif self.in_force is not None:
                self._broken("the file is not there")
            else:
                self._await_first()

    def _take(self, snapshot: Snapshot) -> bool:
        """Put a snapshot in force; False if it is too old for that."""
        current = self.in_force
        if current is not None and _order(snapshot) < _order(current.snapshot):
            self.errors += 1
            logger.error(
                "%s: epoch %d, version %d is older than what is in force (%d, %d); ignored",
                self._snapshot,
                *_order(snapshot),
                *_order(current.snapshot),
            )
            return False
        self.in_force = self._compiler.compile(snapshot, self._overridden)
        self._breakers.keep(
            [
                (name, student.student)
                for name, route in snapshot.routes.items()
                for student in route.students
                if student.weight > 0
            ]
        )
        if current is None or _order(snapshot) != _order(current.snapshot):
            logger.info("snapshot epoch %d, version %d is in force", *_order(snapshot))
        return True

    def _await_first(self) -> None:
        """Control writes the first snapshot once it has started: until then nothing is wrong."""
        if not self._awaited:
            self._awaited = True
            logger.info("%s is not there yet: waiting for control to write it", self._snapshot)

    def _broken(self, problem: str) -> None:
        if problem == self._problem:
            return
        self._problem = problem
        self.errors += 1
        if self.in_force is None:
            logger.error("%s can't be used: %s", self._snapshot, problem)
            return
        logger.error(
            "%s can't be used: %s; every request goes to its teacher until it is repaired",
            self._snapshot,
            problem,
        )

    def _acknowledge(self) -> None:
        in_force = self.in_force
        overrides = self._overrides.ids() if in_force is None else in_force.override_ids
        self._acknowledgement.write(
            Acknowledgement(
                worker=self._worker,
                pid=os.getpid(),
                epoch=0 if in_force is None else in_force.snapshot.epoch,
                version=0 if in_force is None else in_force.snapshot.version,
                overrides=overrides,
                breakers=self._breakers.open_since(),
                time=self._clock(),
            )
        )


def _order(snapshot: Snapshot) -> tuple[int, int]:
    return snapshot.epoch, snapshot.version


def _identity(snapshot: Snapshot) -> tuple[int, int, str]:
    return snapshot.epoch, snapshot.version, snapshot.config_hash
