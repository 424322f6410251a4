"""The overrides' folder: rollbacks and kills that stand above any snapshot."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec

from gateway.files import Stamp, stamp_of
from router.snapshot import Override

_SUFFIX = ".json"

logger = logging.getLogger(__name__)
_decode = msgspec.json.Decoder(Override).decode


class OverrideFolder:
    """Reads ``ROUTE.json`` files, each once as long as it does not change."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, tuple[Stamp, Override]] = {}

    def read(self) -> dict[str, Override]:
        """Return the overrides that are there now, by route."""
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            names = []
        if not names and not self._files:
            return {}
        files: dict[str, tuple[Stamp, Override]] = {}
        for name in names:
            if not name.endswith(_SUFFIX) or name.startswith("."):
                continue
            try:
                stamp = stamp_of(self._folder / name)
                known = self._files.get(name)
                if known is not None and known[0] == stamp:
                    files[name] = known
                else:
                    files[name] = (stamp, self._parse(name))
            except FileNotFoundError:
                continue  # removed since it was listed
        self._files = files
        return {override.route: override for _, override in files.values()}

    def ids(self) -> tuple[str, ...]:
        """The overrides found by the last `read`."""
        return tuple(sorted(override.id for _, override in self._files.values() if override.id))

    def _parse(self, name: str) -> Override:
        path = self._folder / name
        try:
            return _decode(path.read_bytes())
        except FileNotFoundError:
            raise
        except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
            # Somebody wanted this route stopped: a file that can't be read stops it too.
            logger.error("%s can't be read (%s); its route goes to the teacher", path, error)
            return Override(
                id="",
                action="rollback",
                route=name.removesuffix(_SUFFIX),
                actor="",
                reason="unreadable override",
                time=0.0,
            )
