"""Folders that are written once, sealed by hashes, and never changed: a predictor's model files.

Order of a publication: files into a temporary folder, manifest with their hashes, fsync of files
and folders, rename, fsync of the parent. So a folder that has its final name is complete.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from distiller.errors import DistillerError
from distiller.skeleton import Skeleton

MANIFEST = "manifest.json"
SCHEMA = 1

Kind = Literal["classifier", "embedded"]
#: how a student writes its answer: DSPy's ChatAdapter, its JSONAdapter, or the text itself
Adapter = Literal["chat", "json", "plain"]


class ArtefactError(DistillerError):
    """A student's files are missing, damaged, or not what their manifest says."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about one trained predictor. Last file of the folder to be written."""

    schema: int = SCHEMA
    kind: Kind
    #: relative path -> sha256, of every file but this one
    files: dict[str, str]
    adapter: Adapter
    skeleton: Skeleton
    trained_rows: int
    #: share of the dev rows answered exactly right, 0..1; None without dev rows
    dev_score: float | None
    #: divides the logits of a classifier; None where nothing was calibrated
    temperature: float | None
    #: output fields that the student server fills in with the calibrated probability
    filled: tuple[str, ...] = ()
    #: package -> version
    versions: dict[str, str]
    seed: int
    #: training stopped at its time limit, before it had converged
    time_limited: bool


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Fill in the hashes of the files in ``folder`` and write the manifest there."""
    sealed = msgspec.structs.replace(manifest, files=hashes_of(folder))
    (folder / MANIFEST).write_bytes(encode(sealed))
    return sealed


def encode(value: msgspec.Struct) -> bytes:
    """Return ``value`` as JSON that a person can read; equal values give equal bytes."""
    return msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=1) + b"\n"


def publish(temporary: Path, final: Path) -> None:
    """Make ``temporary`` durable and give it its final name, atomically.

    Raises `ArtefactError` if ``final`` exists: an artefact is never replaced.
    """
    if final.exists():
        raise ArtefactError(f"{final} exists already, and an artefact is never replaced")
    for path in [*_walk(temporary), temporary]:
        fsync(path)
    temporary.rename(final)
    fsync(final.parent)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of ``folder`` without checking the files. Raises `ArtefactError`."""
    path = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise ArtefactError(f"{folder} has no {MANIFEST}: it is no trained predictor") from None
    except msgspec.MsgspecError as error:
        raise ArtefactError(f"{path}: {error}") from error
    if manifest.schema != SCHEMA:
        raise ArtefactError(
            f"{path} has schema {manifest.schema}, this version reads {SCHEMA}: upgrade limbeck"
        )
    return manifest


def verify(folder: Path) -> Manifest:
    """Read the manifest and compare every file with it. Raises `ArtefactError` naming the file."""
    manifest = read_manifest(folder)
    found = hashes_of(folder)
    for name in sorted(manifest.files.keys() | found.keys()):
        if name not in found:
            raise ArtefactError(f"{folder / name} is missing")
        if name not in manifest.files:
            raise ArtefactError(f"{folder / name} is not in the manifest")
        if found[name] != manifest.files[name]:
            raise ArtefactError(f"{folder / name} is damaged: its sha256 is not the manifest's")
    return manifest


def hashes_of(folder: Path) -> dict[str, str]:
    """Return relative path -> sha256 of every file in ``folder`` except the manifest."""
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in _walk(folder)
        if path.is_file() and path != folder / MANIFEST
    }


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_durably(path: Path, data: bytes) -> None:
    """Write a small file so that a reader sees the old content or the new, never half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    fsync(temporary)
    temporary.rename(path)
    fsync(path.parent)


def fsync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _walk(folder: Path) -> Iterator[Path]:
    """Yield everything below ``folder``, children before their folder, in a fixed order."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        yield path
