"""The overrides' folder: rollbacks and kills that stand above any snapshot."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec

from gateway.files import Stamp, stamp_of
from router.snapshot import Override

_SUFFIX = ".json"
_UNREADABLE = "%s can't be read (%s); its route goes to the teacher"

logger = logging.getLogger(__name__)
_decode = msgspec.json.Decoder(Override).decode


class OverrideFolder:
    """Reads ``ROUTE.json`` files, each once as long as it does not change."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        #: without a stamp: it could not be read, and is tried again
        self._files: dict[str, tuple[Stamp | None, Override]] = {}

    def read(self) -> dict[str, Override]:
        """Return the overrides that are there now, by route; raise `OSError` if nobody can tell."""
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            names = []
        if not names and not self._files:
            return {}
        files: dict[str, tuple[Stamp | None, Override]] = {}
        for name in names:
            if not name.endswith(_SUFFIX) or name.startswith("."):
                continue
            try:
                stamp = stamp_of(self._folder / name)
                known = self._files.get(name)
                if known is not None and known[0] == stamp:
                    files[name] = known
                else:
                    files[name] = self._parse(name, stamp)
            except FileNotFoundError:
                continue  # removed since it was listed
        self._files = files
        return {override.route: override for _, override in files.values()}

    def ids(self) -> tuple[str, ...]:
        """The overrides found by the last `read`."""
        return tuple(sorted(override.id for _, override in self._files.values() if override.id))

    def _parse(self, name: str, stamp: Stamp) -> tuple[Stamp | None, Override]:
        path = self._folder / name
        try:
            return stamp, _decode(path.read_bytes())
        except FileNotFoundError:
            raise
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            logger.error(_UNREADABLE, path, error)
            return stamp, _stopped(name)
        except OSError as error:
            known = self._files.get(name)
            if known is None or known[0] is not None:
                logger.error(_UNREADABLE, path, error)
            return None, _stopped(name)


def _stopped(name: str) -> Override:
    """Somebody wanted this route stopped: a file that can't be read stops it too."""
    return Override(
        id="",
        action="rollback",
        route=name.removesuffix(_SUFFIX),
        actor="",
        reason="unreadable override",
        time=0.0,
    )
