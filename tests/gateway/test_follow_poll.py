"""A follower's polls, one by one, over files that change between them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from gateway.acknowledge import AcknowledgementFile
from gateway.breakers import Breakers
from gateway.compile import Compiler
from gateway.files import write_atomically
from gateway.follow import Follower
from gateway.overrides import OverrideFolder
from gateway.wheel import Wheel
from router.snapshot import Override, Route
from tests.fakes.upstream import FakeUpstream
from tests.gateway.rig import (
    snapshot,
    student_route,
    teacher_route,
)


def test_a_lasting_problem_is_told_once(
    tmp_path: Path, upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    follower = _follower(tmp_path)
    (tmp_path / "snapshot.json").mkdir()
    follower.poll()
    follower.poll()
    assert (follower.errors, caplog.text.count("Is a directory")) == (1, 1)
    (tmp_path / "snapshot.json").rmdir()
    write_atomically(tmp_path / "snapshot.json", msgspec.json.encode(snapshot(upstream.base_url)))
    assert follower.poll()
    assert follower.in_force is not None and follower.in_force.leased
    (tmp_path / "snapshot.json").unlink()
    follower.poll()
    follower.poll()
    assert (follower.errors, caplog.text.count("is not there")) == (2, 1)


def test_waiting_for_the_first_snapshot_is_no_error(
    tmp_path: Path, upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    follower = _follower(tmp_path)
    follower.start()
    follower.poll()
    assert (follower.errors, caplog.text.count("is not there yet")) == (0, 1)
    write_atomically(tmp_path / "snapshot.json", msgspec.json.encode(snapshot(upstream.base_url)))
    assert follower.poll()
    assert follower.errors == 0


def test_overrides_that_can_not_be_listed_mean_teacher(
    tmp_path: Path, upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    follower = _follower(tmp_path)
    overrides = tmp_path / "overrides"

    def publish(version: int) -> None:
        published = snapshot(upstream.base_url, {"triage": student_route()}, version=version)
        write_atomically(tmp_path / "snapshot.json", msgspec.json.encode(published))

    def in_force() -> tuple[int, bool, list[str]]:
        assert follower.in_force is not None
        state = follower.in_force
        return state.snapshot.version, state.leased, list(state.overrides)

    publish(1)
    rollback = Override(id="o", action="rollback", route="x", actor="", reason="", time=0.0)
    overrides.mkdir()
    (overrides / "x.json").write_bytes(msgspec.json.encode(rollback))
    follower.poll()
    assert in_force() == (1, True, ["x"])
    overrides.rename(tmp_path / "elsewhere")
    overrides.touch()
    follower.poll()
    assert in_force() == (1, False, ["x"]), "what is known stays in force"
    publish(2)
    follower.poll()
    assert in_force() == (2, False, ["x"]), "snapshots are read all the same"
    assert (follower.errors, caplog.text.count("can't be listed")) == (1, 1)
    overrides.unlink()
    follower.poll()
    assert in_force() == (2, True, [])


def test_a_start_without_the_list_of_overrides(tmp_path: Path, upstream: FakeUpstream) -> None:
    published = snapshot(upstream.base_url, {"triage": student_route()})
    (tmp_path / "good.json").write_bytes(msgspec.json.encode(published))
    (tmp_path / "overrides").touch()
    follower = _follower(tmp_path)
    follower.start()
    assert follower.in_force is not None and not follower.in_force.leased
    (tmp_path / "overrides").unlink()
    follower.poll()
    assert not follower.in_force.leased, "the snapshot itself is not there yet"


class FoldsFirst(OverrideFolder):
    """Control has folded the override into the snapshot a moment before the folder is listed."""

    def __init__(self, folder: Path, fold: Callable[[], None]) -> None:
        super().__init__(folder)
        self._fold = fold

    def read(self) -> dict[str, Override]:
        self._fold()
        return super().read()


def test_an_override_that_is_folded_meanwhile_lets_no_request_through(
    tmp_path: Path, upstream: FakeUpstream
) -> None:
    overrides, folds = tmp_path / "overrides", iter([False, True])

    def publish(version: int, route: Route) -> None:
        published = snapshot(upstream.base_url, {"triage": route}, version=version)
        write_atomically(tmp_path / "snapshot.json", msgspec.json.encode(published))

    def fold() -> None:
        if next(folds):
            publish(2, teacher_route(folded_override="o"))
            (overrides / "triage.json").unlink()

    overrides.mkdir()
    rollback = Override(id="o", action="rollback", route="triage", actor="", reason="", time=0.0)
    (overrides / "triage.json").write_bytes(msgspec.json.encode(rollback))
    publish(1, student_route())
    follower = _follower(tmp_path, FoldsFirst(overrides, fold))
    follower.poll()
    assert follower.in_force is not None and list(follower.in_force.overrides) == ["triage"]
    follower.poll()
    assert not follower.in_force.overrides
    assert follower.in_force.snapshot.version == 2, "it may not be gone from both"


def test_an_older_snapshot_repairs_no_broken_one(tmp_path: Path, upstream: FakeUpstream) -> None:
    follower = _follower(tmp_path)
    for version, leased in ((5, True), (None, False), (4, False), (6, True)):
        content = (
            b"broken"
            if version is None
            else msgspec.json.encode(
                snapshot(upstream.base_url, {"triage": student_route()}, version=version)
            )
        )
        write_atomically(tmp_path / "snapshot.json", content)
        follower.poll()
        assert follower.in_force is not None and follower.in_force.leased is leased


def _follower(folder: Path, overrides: OverrideFolder | None = None) -> Follower:
    return Follower(
        snapshot=folder / "snapshot.json",
        last_good=folder / "good.json",
        overrides=overrides or OverrideFolder(folder / "overrides"),
        acknowledgement=AcknowledgementFile(folder / "acks", "w1"),
        compiler=Compiler(Wheel(), {}),
        breakers=Breakers(),
        worker="w1",
    )
