from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from control.commands.process import share_internal_key
from control.errors import FileProblem
from control.layout import Layout
from control.secrets import INTERNAL_KEY_ENV, ensure_secrets, load_secrets


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


@pytest.mark.parametrize("given", ["", " \n", "sk-given\n"])
def test_the_internal_key_is_given_or_that_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv(INTERNAL_KEY_ENV, given)
    layout = Layout(data=tmp_path)
    share_internal_key(layout)
    own = given.strip() or load_secrets(layout.secrets).internal_key
    assert os.environ[INTERNAL_KEY_ENV] == own
    assert layout.secrets.exists() is not bool(given.strip())
