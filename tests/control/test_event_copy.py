from __future__ import annotations

import logging
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from control.event_copy import copy_events, open_log
from control.events import BrokenChain, EventLog
from control.rollouts import Rollouts
from router.events import Event, Facts, Signal
from router.policy import Policy
from router.stages import Stage
from tests.control.stored import ROUTE, STUDENT, T0
from tests.control.world import World
from traces.store import Store

STUDENTS = (STUDENT, "s2-bbbb", "s3-cccc")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "t.duckdb")
    yield store
    store.close()


@pytest.fixture
def path(tmp_path: Path, store: Store) -> Path:
    """A log with three rows, all copied."""
    path = tmp_path / "rollouts" / "events.jsonl"
    log = open_log(path, store, code_version="test")
    for student in STUDENTS:
        register(log, student)
    assert [copy_events(log, store), copy_events(log, store)] == [3, 0], "copied once"
    log.close()
    return path


def register(log: EventLog, student: str) -> None:
    signal = Signal(event=Event.STUDENT_REGISTERED, student=student, ts=T0, facts=Facts())
    Rollouts(log, [ROUTE]).signal(ROUTE, signal, Policy())


def test_the_copy_goes_on_where_it_ended(path: Path, store: Store) -> None:
    log = open_log(path, store, code_version="test")
    register(log, "s4-dddd")
    assert copy_events(log, store) == 1
    log.close()


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_lost_rows_come_back_from_the_copy(
    path: Path, store: Store, kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:kept]))
    if not kept:
        path.unlink()
    with caplog.at_level(logging.ERROR):
        log = open_log(path, store, code_version="test")
    assert path.read_bytes() == whole and log.last_seq == 3
    assert f"{3 - kept} came back" in caplog.text
    state = Rollouts(log, [ROUTE]).of(ROUTE)
    assert [(r.student, r.k) for r in state.rollouts] == list(zip(STUDENTS, (1, 2, 3), strict=True))
    register(log, "s4-dddd")
    log.close()
    again = open_log(path, store, code_version="test")
    assert again.last_seq == 4
    again.close()


def test_rows_of_another_version_come_back_as_they_were_written(tmp_path: Path) -> None:
    """The chain holds for the stored JSON: a field that we don't know belongs to it."""
    path, store = tmp_path / "events.jsonl", Store(tmp_path / "other.duckdb")
    log = EventLog(path, code_version="test")
    register(log, STUDENT)
    log.close()
    row = msgspec.json.decode(path.read_bytes()) | {"unknown_to_us": 1}
    del row["hash"]
    row["hash"] = sha256(msgspec.json.encode(row, order="sorted")).hexdigest()
    path.write_bytes(msgspec.json.encode(row, order="sorted") + b"\n")
    whole = path.read_bytes()
    log = open_log(path, store, code_version="test")
    assert copy_events(log, store) == 1
    log.close()
    path.unlink()
    log = open_log(path, store, code_version="test")
    assert path.read_bytes() == whole
    log.close()
    store.close()


def test_another_log_is_refused_with_the_way_out(path: Path, store: Store) -> None:
    path.unlink()
    log = EventLog(path, code_version="test")
    register(log, "s9-other")
    log.close()
    with pytest.raises(BrokenChain, match="row 1 is not the one that was copied") as refused:
        open_log(path, store, code_version="test")
    assert str(path) in str(refused.value) and "move it away" in str(refused.value)
    assert "not in the copy are lost" in str(refused.value)
    path.unlink()
    log = open_log(path, store, code_version="test")
    assert log.last_seq == 3
    log.close()


def test_a_copy_that_does_not_hold_brings_nothing_back(tmp_path: Path, path: Path) -> None:
    store = Store(tmp_path / "other.duckdb")
    log = EventLog(path, code_version="test")
    copy_events(log, store)
    lines = path.read_bytes().splitlines()
    log.close()
    store.run("insert_event", seq=4, ts_us=0, route=ROUTE, student="x", event="rollback",
              stage_from=None, stage_to=None, actor="ann", reason="", report=None,
              body=lines[0].decode(), prev_hash="", hash="")  # fmt: skip
    with pytest.raises(BrokenChain, match="restore the data folder from a backup"):
        open_log(path, store, code_version="test")
    assert path.read_bytes().splitlines() == lines
    store.close()


def choose(store: Store, student: str) -> None:
    """A distillation whose exam has chosen ``student``."""
    params = {"distillation_id": "x-1", "now_us": round(T0 * 1e6)}
    store.run("open_distillation", **params, route=ROUTE, settings="{}")
    store.run("move_distillation", **params, stage="ended", dataset_id="d", chosen=student,
              reason=None)  # fmt: skip


def test_who_was_rolled_back_stays_so_when_the_log_is_lost(tmp_path: Path) -> None:
    world = World(tmp_path)
    try:
        world.to_stage(Stage.R5)
        choose(world.parts.store, STUDENT)
        world.parts.operations.order(ROUTE, "rollback", actor="ann", reason="odd", student=None)
        copy_events(world.parts.log, world.parts.store)
        world.stop()
        world.layout.events.unlink()
        world.start()
        assert world.parts.distilling.chosen(ROUTE) == [STUDENT]
        world.tick(3)
        (rollout,) = world.parts.rollouts.of(ROUTE).rollouts
        assert (rollout.stage, rollout.k, world.share) == (Stage.ROLLED_BACK, 1, None)
        assert world.events[-1] == (Event.ROLLBACK, "ann")
    finally:
        world.stop()
