from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from control.errors import FileProblem
from control.layout import Layout
from control.snapshot_file import (
    next_epoch,
    read_newest,
    read_snapshot,
    revised,
    write_snapshot,
)
from router.snapshot import Acknowledgement, Route, Snapshot, StudentRoute, Target

TARGET = Target(upstream="u", model="m")


def snapshot(*, valid_until: float = 10.0, weight: float = 0.05, version: int = 0) -> Snapshot:
    student = StudentRoute(
        student="s1", target=TARGET, stage="R5", weight=weight, valid_until=valid_until
    )
    return Snapshot(
        version=version,
        epoch=1,
        config_hash="c",
        routes={"triage": Route(teacher=TARGET, students=(student,))},
    )


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(data=tmp_path / "data")


def test_write_and_read(layout: Layout) -> None:
    write_snapshot(layout, snapshot())
    assert read_snapshot(layout.snapshot) == snapshot()
    assert layout.last_good_snapshot.read_bytes() == layout.snapshot.read_bytes()
    assert sorted(path.name for path in layout.data.iterdir()) == [
        "snapshot.good.json",
        "snapshot.json",
    ]


@pytest.mark.parametrize("damage", [b"", b"{", b'{"version": 1}', b'{"schema": 9}'])
def test_a_damaged_file_falls_back_to_the_last_good_one(layout: Layout, damage: bytes) -> None:
    write_snapshot(layout, snapshot())
    layout.snapshot.write_bytes(damage)
    with pytest.raises(FileProblem):
        read_snapshot(layout.snapshot)
    assert read_newest(layout) == snapshot()


def test_another_schema_is_refused(layout: Layout) -> None:
    write_snapshot(layout, msgspec.structs.replace(snapshot(), schema=9))
    with pytest.raises(FileProblem, match="schema 9, this limbeck reads 1"):
        read_snapshot(layout.snapshot)


def test_no_file_at_all(layout: Layout) -> None:
    assert read_newest(layout) is None
    with pytest.raises(FileProblem, match="control has not written a snapshot yet"):
        read_snapshot(layout.snapshot)


def test_a_renewed_lease_keeps_the_version() -> None:
    before = snapshot(version=4)
    assert revised(snapshot(valid_until=99.0), before).version == 4
    assert revised(snapshot(weight=0.25), before).version == 5
    assert revised(snapshot(), None).version == 1


def test_a_new_control_is_above_all_that_workers_have_in_force(layout: Layout) -> None:
    assert next_epoch(layout) == 1
    write_snapshot(layout, msgspec.structs.replace(snapshot(), epoch=3))
    assert next_epoch(layout) == 4
    layout.acknowledgements.mkdir()
    worker = Acknowledgement(worker="w1", pid=1, epoch=8, version=1, time=0.0)
    (layout.acknowledgements / "w1.json").write_bytes(msgspec.json.encode(worker))
    (layout.acknowledgements / "w2.json").write_bytes(b"")
    assert next_epoch(layout) == 9
