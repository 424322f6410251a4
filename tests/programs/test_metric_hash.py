"""The metric's hash follows its name and its sources, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from programs.errors import LoadError
from programs.metric_hash import metric_hash
from tests.programs.hosts import APP


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scoring").mkdir()
    (tmp_path / "scoring" / "__init__.py").write_text("")
    (tmp_path / "scoring" / "metric.py").write_text(
        "from . import near\nfrom scoring.words import a\nimport json, shared\n"
    )
    for name in ("scoring/near.py", "scoring/words.py", "shared.py", "other.py"):
        (tmp_path / name).write_text("a = 1\n")
    return tmp_path


@pytest.mark.parametrize(
    "name", ["scoring/metric.py", "scoring/near.py", "scoring/words.py", "shared.py"]
)
def test_a_change_of_any_source_changes_the_hash(folder: Path, name: str) -> None:
    before = metric_hash("scoring.metric:m", folder)
    (folder / name).write_text((folder / name).read_text() + "b = 2\n")
    assert metric_hash("scoring.metric:m", folder) != before


def test_other_files_and_the_place_do_not_matter(folder: Path, tmp_path: Path) -> None:
    before = metric_hash("scoring.metric:m", folder)
    (folder / "other.py").write_text("b = 2\n")
    moved = folder.rename(tmp_path.parent / f"{tmp_path.name}-moved")
    assert metric_hash("scoring.metric:m", moved) == before
    assert len(before) == 16


def test_the_name_matters(folder: Path) -> None:
    names = ["scoring.metric:m", "scoring.metric:n", "exact_match(a)", "exact_match(b)", "json:x"]
    assert len({metric_hash(name, folder) for name in names}) == len(names)


def test_helpers_of_the_users_metric_count() -> None:
    assert metric_hash("metrics:right", APP) != metric_hash("helper:same", APP)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that nobody can read")
def test_a_source_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "closed.py").symlink_to("/proc/self/mem")
    with pytest.raises(LoadError, match=r"closed\.py can't be read"):
        metric_hash("closed:m", tmp_path)


def test_bad_names_and_sources(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("x = 1\ndef (:\n")
    with pytest.raises(LoadError, match=r"bad\.py, line 2"):
        metric_hash("bad:m", tmp_path)
    (tmp_path / "nul.py").write_bytes(b"x = 1\0")
    with pytest.raises(LoadError, match=r"nul\.py.*null byte"):
        metric_hash("nul:m", tmp_path)
    with pytest.raises(LoadError, match="is not of the form"):
        metric_hash("bad", tmp_path)
