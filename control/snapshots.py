"""Writes the snapshot that gateway workers follow, and renews its leases."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from control.addresses import Addresses
from control.compile import RouteState, compile_snapshot
from control.config.values import Config
from control.layout import Layout
from control.snapshot_file import next_epoch, read_newest, revised, write_snapshot
from router.snapshot import Snapshot

_log = logging.getLogger("limbeck.control")


class SnapshotWriter:
    """The only writer. ``keys``: name of the app -> its key; only hashes get into the file."""

    def __init__(
        self,
        layout: Layout,
        *,
        keys: Mapping[str, str],
        salt: str,
        addresses: Callable[[], Addresses],
    ) -> None:
        self._layout = layout
        self._keys = keys
        self._salt = salt
        self._addresses = addresses
        self._epoch = next_epoch(layout)
        #: the newest on the disk, at first that of an earlier control; None: there is none
        self.newest = read_newest(layout)
        self._renewed = 0.0
        #: what was written last; None before the first
        self.current: Snapshot | None = None

    def compile(self, config: Config, states: Mapping[str, RouteState]) -> Snapshot:
        """Project ``states`` without writing anything."""
        fresh = compile_snapshot(
            config,
            states,
            self._addresses(),
            keys=self._keys,
            salt=self._salt,
            version=0,
            epoch=self._epoch,
        )
        return revised(fresh, self.newest)

    def write(
        self, config: Config, states: Mapping[str, RouteState], *, now: float, renew_s: float
    ) -> Snapshot:
        """Put ``states`` in force if they changed, or if the leases are ``renew_s`` seconds old."""
        snapshot = self.compile(config, states)
        current = self.current
        if current is not None and current.version == snapshot.version:
            if 0.0 <= now - self._renewed < renew_s:
                return current
        else:
            _log.info("snapshot %d.%d", snapshot.epoch, snapshot.version)
        write_snapshot(self._layout, snapshot)
        self._renewed = now
        self.newest = self.current = snapshot
        return snapshot
