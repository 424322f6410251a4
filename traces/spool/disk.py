"""How much of a disk the spool may take, and how much recording leaves free.

DuckDB lies on the same disk as a rule, and must never meet a full one: writers stop at the reserve,
the collector goes on down to half of it, as it empties the spool.
"""

from __future__ import annotations

import os
from pathlib import Path

_MAX_BYTES = 4 << 30
_MAX_SHARE = 0.10
_RESERVE_BYTES = 2 << 30
_RESERVE_SHARE = 0.05


def free_bytes(folder: Path) -> int:
    """Return what is free for us on the disk of a folder."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def default_max_bytes(folder: Path) -> int:
    """Return the default limit of a spool: 4 GB, or a tenth of a small disk."""
    return min(_MAX_BYTES, int(_size(folder) * _MAX_SHARE))


def default_reserve(folder: Path) -> int:
    """Return what recording leaves free by default: 2 GB, or a twentieth of a small disk."""
    return min(_RESERVE_BYTES, int(_size(folder) * _RESERVE_SHARE))


def _size(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_blocks * disk.f_frsize
