from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from control.errors import FileProblem
from control.secrets import ensure_secrets, load_secrets


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "secrets.json"


def test_made_once_readable_by_the_owner(path: Path) -> None:
    secrets = ensure_secrets(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert ensure_secrets(path) == load_secrets(path) == secrets
    values = msgspec.structs.astuple(secrets)
    assert len(set(values)) == len(values)
    assert all(len(value) >= 32 for value in values)
    assert not any(value in repr(secrets) for value in values)
    assert [item.name for item in path.parent.iterdir()] == ["secrets.json"]


def test_two_folders_have_different_secrets(tmp_path: Path) -> None:
    one, two = (ensure_secrets(tmp_path / name / "secrets.json") for name in "ab")
    assert not set(msgspec.structs.astuple(one)) & set(msgspec.structs.astuple(two))


def test_first_starts_at_once_agree(path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(ensure_secrets, [path] * 8))
    assert all(secrets == made[0] for secrets in made)


def test_others_may_not_read_it(path: Path) -> None:
    ensure_secrets(path)
    path.chmod(0o644)
    with pytest.raises(FileProblem, match="chmod 600"):
        load_secrets(path)


def test_missing_and_damaged(path: Path) -> None:
    with pytest.raises(FileProblem, match="limbeck up"):
        load_secrets(path)
    ensure_secrets(path)
    path.write_text("{}")
    with pytest.raises(FileProblem, match="restore it from a backup"):
        ensure_secrets(path)
