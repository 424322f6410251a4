"""User folders with names of ours, and what can be loaded from one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from programs.errors import LoadError, UserFolderError
from programs.user_code import load_object, open_user_folder
from programs.user_folder import PACKAGES, check_user_folders, collisions


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Path]:
    """A user's folder on the path, for one test."""
    open_user_folder(tmp_path)
    yield tmp_path
    sys.path.remove(str(tmp_path))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_module_with_a_name_of_ours_is_refused(tmp_path: Path, package: str) -> None:
    (tmp_path / f"{package}.py").write_text("")
    (message,) = collisions(tmp_path)
    assert f'has the name of limbeck\'s own package "{package}"' in message
    assert f"{tmp_path}/myprogram/{package}.py" in message


@pytest.mark.parametrize(
    "name", ["router.cpython-311-x86_64-linux-gnu.so", "router.so", "router.pyc"]
)
def test_a_compiled_module_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    assert len(collisions(tmp_path)) == 1


def test_a_folder_is_refused_even_without_init(tmp_path: Path) -> None:
    (tmp_path / "programs").mkdir()
    assert len(collisions(tmp_path)) == 1


def test_other_names_are_fine(tmp_path: Path) -> None:
    (tmp_path / "router_rules.py").write_text("")
    (tmp_path / "router.txt").write_text("")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "router.py").write_text("")
    assert collisions(tmp_path) == []
    check_user_folders([tmp_path])


def test_all_collisions_of_all_folders_are_reported_at_once(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        (folder / "traces.py").write_text("")
    (one / "control").mkdir()
    with pytest.raises(UserFolderError) as refused:
        check_user_folders([one, two, tmp_path / "missing", one])
    lines = str(refused.value).splitlines()
    assert len(lines) == 4
    assert lines[-1].endswith('missing" does not exist')


def test_a_user_folder_comes_last(opened: Path) -> None:
    assert sys.path[-1] == str(opened)
    open_user_folder(opened)
    assert sys.path.count(str(opened)) == 1


def test_an_object_is_found_in_a_package(opened: Path) -> None:
    (opened / "mypackage").mkdir()
    (opened / "mypackage" / "deep.py").write_text("class A:\n    b = 7\n")
    assert load_object("mypackage.deep:A.b", what="metric", folder=opened) == 7


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("no_colon", "is not of the form"),
        (":name", "is not of the form"),
        ("absent.sub:name", "there is no module absent.sub"),
        ("needs:name", "importing needs failed: ModuleNotFoundError: No module named 'absent'"),
        ("leaves:name", "importing leaves failed: SystemExit: 4"),
        ("json:nothing", 'has no "nothing"'),
    ],
)
def test_what_cannot_be_loaded_is_explained(opened: Path, spec: str, words: str) -> None:
    (opened / "needs.py").write_text("import absent\n")
    (opened / "leaves.py").write_text("raise SystemExit(4)\n")
    with pytest.raises(LoadError, match=words):
        load_object(spec, what="metric", folder=opened)
