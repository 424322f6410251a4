"""Checkpoints that can be trusted: a marker with sizes and hashes, written last.

The trainer writes ``checkpoint-N`` in place and takes the highest number, torn or not; a torn one
crashes the resumption. So only marked ones are used.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from distiller.artefact import sha256_file, write_durably

MARKER = "COMPLETE"


class _FileFacts(msgspec.Struct, frozen=True):
    size: int
    sha256: str


def mark_complete(checkpoint: Path) -> None:
    """Say that all files of a checkpoint are written."""
    write_durably(checkpoint / MARKER, msgspec.json.encode(_facts(checkpoint)))


def last_complete(folder: Path) -> Path | None:
    """Return the newest intact checkpoint, and delete the torn ones; None: start again."""
    checkpoints = sorted(folder.glob("checkpoint-*"), key=_step, reverse=True)
    for checkpoint in checkpoints:
        if _is_complete(checkpoint):
            return checkpoint
        shutil.rmtree(checkpoint)
    return None


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def _is_complete(checkpoint: Path) -> bool:
    try:
        marked = msgspec.json.decode((checkpoint / MARKER).read_bytes(), type=dict[str, _FileFacts])
    except (FileNotFoundError, msgspec.MsgspecError):
        return False
    return marked == _facts(checkpoint)


def _facts(checkpoint: Path) -> dict[str, _FileFacts]:
    return {
        path.relative_to(checkpoint).as_posix(): _FileFacts(path.stat().st_size, sha256_file(path))
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name != MARKER
    }
