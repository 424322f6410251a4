from __future__ import annotations

import os
from pathlib import Path

import pytest

from control.lock import FileLock, Held


def lock(path: Path) -> FileLock:
    return FileLock(path, who="limbeck control", way_out="stop it first")


def test_a_second_holder_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    path = tmp_path / "control.lock"
    with lock(path), pytest.raises(Held) as refused:
        lock(path)
    assert str(path) in str(refused.value) and str(os.getpid()) in str(refused.value)


def test_the_lock_passes_on(tmp_path: Path) -> None:
    path = tmp_path / "control.lock"
    lock(path).close()
    with lock(path):
        pass
