from __future__ import annotations

import os
from pathlib import Path

import pytest

from control.leader import Leader, NotLeader


def test_a_second_control_is_refused_and_told_who_leads(tmp_path: Path) -> None:
    path = tmp_path / "control.lock"
    with Leader(path), pytest.raises(NotLeader) as refused:
        Leader(path)
    assert str(path) in str(refused.value) and str(os.getpid()) in str(refused.value)


def test_the_leadership_passes_on(tmp_path: Path) -> None:
    path = tmp_path / "control.lock"
    Leader(path).close()
    with Leader(path):
        pass
