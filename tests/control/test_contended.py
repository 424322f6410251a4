from __future__ import annotations

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from control.contended import Contended

FILES = Contended(rank=int, top=3)
LOW, MIDDLE, TOP = b"1", b"2", b"3"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "triage.json"


def interrupted(by: Callable[[], object]) -> Contended:
    """Something happens between its first look at the file and what it does about it."""
    to_come = [by]

    def rank(content: bytes) -> int:
        if to_come:
            to_come.pop()()
        return int(content)

    return Contended(rank=rank, top=3)


def test_what_ranks_higher_stays(path: Path) -> None:
    assert [FILES.put(path, content) for content in (MIDDLE, LOW, TOP, MIDDLE)] == [
        MIDDLE,
        MIDDLE,
        TOP,
        TOP,
    ]
    assert path.read_bytes() == TOP
    assert [found.name for found in path.parent.iterdir()] == ["triage.json"]


def test_what_comes_between_a_look_and_a_write_is_not_lost(path: Path) -> None:
    FILES.put(path, LOW)
    assert interrupted(lambda: FILES.put(path, TOP)).put(path, MIDDLE) == TOP
    assert path.read_bytes() == TOP
    assert [found.name for found in path.parent.iterdir()] == ["triage.json"]


@pytest.mark.parametrize("kind", ["a folder", "a link to nothing"])
def test_what_nobody_can_read_keeps_no_order_out(path: Path, kind: str) -> None:
    if kind == "a folder":
        path.mkdir()
        with pytest.raises(IsADirectoryError):
            FILES.put(path, LOW)
        return
    path.symlink_to(path.with_name("nothing"))
    assert FILES.put(path, LOW) == LOW
    assert path.read_bytes() == LOW and not path.is_symlink()


def test_what_is_gone_after_a_look_holds_nobody_up(path: Path) -> None:
    FILES.put(path, LOW)
    assert interrupted(path.unlink).put(path, MIDDLE) == MIDDLE
    assert path.read_bytes() == MIDDLE


def test_only_what_was_seen_is_taken_away(path: Path) -> None:
    FILES.put(path, LOW)
    FILES.put(path, TOP)
    assert FILES.take(path, LOW) is False
    assert path.read_bytes() == TOP
    assert FILES.take(path, TOP) is True
    assert FILES.take(path, TOP) is False
    assert list(path.parent.iterdir()) == []


def test_whoever_writes_in_the_same_moment_the_highest_stays(path: Path) -> None:
    """Real threads: without the second look a kill is lost within a few rounds."""
    rounds = 150
    barrier = Barrier(4, timeout=60)

    def write(content: bytes) -> None:
        for _ in range(rounds):
            barrier.wait()
            FILES.put(path, content)
            barrier.wait()

    def take() -> None:
        for _ in range(rounds):
            barrier.wait()
            FILES.take(path, LOW)
            barrier.wait()

    with ThreadPoolExecutor(3) as pool:
        done = [pool.submit(write, MIDDLE), pool.submit(write, TOP), pool.submit(take)]
        lost = 0
        for _ in range(rounds):
            path.write_bytes(LOW)
            barrier.wait()
            barrier.wait()
            lost += path.read_bytes() != TOP
            path.unlink()
        for one in done:
            one.result()
    assert lost == 0
    assert list(path.parent.iterdir()) == []


def test_what_a_crash_left_aside_comes_back(path: Path, tmp_path: Path) -> None:
    (tmp_path / ".triage.json.0123abcd.aside").write_bytes(TOP)
    path.write_bytes(MIDDLE)
    (tmp_path / ".a.b.json.0123abcd.aside").write_bytes(MIDDLE)
    (tmp_path / ".other.json.0123abcd.aside").write_bytes(LOW)
    (tmp_path / "other.json").write_bytes(MIDDLE)
    FILES.restore(tmp_path)
    assert {found.name: found.read_bytes() for found in tmp_path.iterdir()} == {
        "triage.json": TOP,
        "a.b.json": MIDDLE,
        "other.json": MIDDLE,
    }


def test_a_file_system_without_hard_links(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object, __: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    assert [FILES.put(path, content) for content in (LOW, MIDDLE, LOW, TOP, LOW)] == [
        LOW,
        MIDDLE,
        MIDDLE,
        TOP,
        TOP,
    ]
    assert [found.name for found in path.parent.iterdir()] == ["triage.json"]
