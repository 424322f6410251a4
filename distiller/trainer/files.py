"""Uploaded training files: ``files/ID.jsonl`` with what is known about it in ``files/ID.json``."""

from __future__ import annotations

import secrets
import shutil
import time
from pathlib import Path
from typing import BinaryIO

import msgspec

from distiller.artefact import fsync, write_durably
from distiller.http import ApiError
from distiller.trainer.rows import RowError, parse_lines

PURPOSE = "fine-tune"


class UploadedFile(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's file object."""

    id: str
    object: str = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: str = "processed"


class FileDeleted(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: str = "file"
    deleted: bool = True


class FileStore:
    """Files are checked when they arrive, so a job never meets a malformed row."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".file-*"):
            leftover.unlink()

    def add(self, source: BinaryIO, *, filename: str, purpose: str) -> UploadedFile:
        """Check and store a file. Raises `ApiError` 400 with the number of the wrong line."""
        if purpose != PURPOSE:
            raise ApiError(400, f"purpose must be {PURPOSE!r}, not {purpose!r}", param="purpose")
        _check(source)
        file_id = f"file-{secrets.token_hex(12)}"
        temporary = self._folder / f".{file_id}"
        source.seek(0)
        with temporary.open("wb") as target:
            while chunk := source.read(1 << 20):
                target.write(chunk)
        fsync(temporary)
        stored = UploadedFile(
            id=file_id,
            bytes=temporary.stat().st_size,
            created_at=int(time.time()),
            filename=filename,
            purpose=purpose,
        )
        temporary.rename(self._rows(file_id))
        write_durably(self._facts(file_id), msgspec.json.encode(stored))
        return stored

    def get(self, file_id: str) -> UploadedFile:
        """Raises `ApiError` 404 for an unknown id."""
        try:
            return msgspec.json.decode(self._facts(file_id).read_bytes(), type=UploadedFile)
        except FileNotFoundError:
            raise ApiError(404, f"file {file_id!r} does not exist: upload it first") from None

    def delete(self, file_id: str) -> FileDeleted:
        """Forget a file. Jobs that were created with it keep their own copy."""
        self.get(file_id)
        self._facts(file_id).unlink()
        self._rows(file_id).unlink(missing_ok=True)
        return FileDeleted(id=file_id)

    def copy(self, file_id: str, target: Path, *, param: str) -> None:
        """Give a job its own copy of the rows. Raises `ApiError` 400 for an unknown id."""
        try:
            shutil.copyfile(self._rows(file_id), target)
        except FileNotFoundError:
            message = f"{param} {file_id!r} does not exist: upload it to this service first"
            raise ApiError(400, message, param=param) from None

    def _rows(self, file_id: str) -> Path:
        return self._folder / f"{_safe(file_id)}.jsonl"

    def _facts(self, file_id: str) -> Path:
        return self._folder / f"{_safe(file_id)}.json"


def _check(source: BinaryIO) -> None:
    try:
        rows = sum(1 for _ in parse_lines(source))
    except RowError as error:
        raise ApiError(400, str(error), code="invalid_training_file", param="file") from None
    if not rows:
        raise ApiError(400, "the file has no rows", code="invalid_training_file", param="file")


def _safe(file_id: str) -> str:
    """Ids are made of letters, digits and hyphens; anything else names no file."""
    return file_id if file_id.replace("-", "").isalnum() and len(file_id) < 100 else "unknown"
