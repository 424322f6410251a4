"""Salts and internal keys of this data folder, made at the first start, readable by the owner."""

from __future__ import annotations

import os
import secrets as randomness
from pathlib import Path

import msgspec

from control.errors import FileProblem
from control.files import write_atomically

#: environment variable that holds the key between our own processes
INTERNAL_KEY_ENV = "LIMBECK_INTERNAL_KEY"


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """``secrets.json``. Losing it reshuffles splits and assignments; keep it with the backup."""

    #: between our own processes
    internal_key: str
    #: of the admin API
    admin_key: str
    #: decides the split bucket of a trace; never changes, or the exam leaks into training
    bucket_salt: str
    #: pseudonyms of users in reports and exports
    hmac_key: str
    #: decides which keys come to the student first
    ramp_salt: str

    def __repr__(self) -> str:
        return "Secrets(...)"


def load_secrets(path: Path) -> Secrets:
    """Read them; raises `FileProblem` for a missing, damaged or too widely readable file."""
    try:
        mode = path.stat().st_mode & 0o777
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileProblem(f"{path}: not found: `limbeck up` makes it at the first start") from None
    except OSError as error:
        raise FileProblem(f"{path}: can't be read: {error.strerror}") from error
    if mode & 0o077:
        raise FileProblem(f"{path}: others may read it (mode {mode:04o}): chmod 600 {path}")
    try:
        return msgspec.json.decode(data, type=Secrets)
    except msgspec.DecodeError as error:
        raise FileProblem(
            f"{path}: damaged ({error}): restore it from a backup; removing it makes new keys and "
            "reshuffles splits and assignments"
        ) from error


def ensure_secrets(path: Path) -> Secrets:
    """Read the secrets, or make them. Two first starts at once agree on one file."""
    if path.exists():
        return load_secrets(path)
    fresh = Secrets(
        internal_key="sk-internal-" + randomness.token_hex(24),
        admin_key="sk-admin-" + randomness.token_hex(24),
        bucket_salt=randomness.token_hex(16),
        hmac_key=randomness.token_hex(32),
        ramp_salt=randomness.token_hex(16),
    )
    staged = path.with_name(f".{path.name}.{randomness.token_hex(6)}.new")
    write_atomically(staged, msgspec.json.encode(fresh), mode=0o600)
    try:
        os.link(staged, path)
    except FileExistsError:
        pass
    finally:
        staged.unlink(missing_ok=True)
    return load_secrets(path)
