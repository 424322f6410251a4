from __future__ import annotations

import logging
import resource
from pathlib import Path

import pytest

from control.errors import FileProblem
from control.events import BrokenChain, EventLog, UnreadableLog
from control.rollouts import Rollouts
from router.events import Event, Facts, Signal
from router.policy import Policy
from router.rollout import Transition
from router.stages import Stage
from tests.control.stored import ROUTE, STUDENT, T0


def open_log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "rollouts" / "events.jsonl", code_version="test")


def register(log: EventLog, student: str = STUDENT) -> None:
    signal = Signal(event=Event.STUDENT_REGISTERED, student=student, ts=T0, facts=Facts())
    done = Rollouts(log, [ROUTE]).signal(ROUTE, signal, Policy())
    assert isinstance(done, Transition)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with two rows."""
    log = open_log(tmp_path)
    register(log)
    register(log, "s2-bbbb")
    log.close()
    return log.path


def test_a_restart_folds_the_same_state(tmp_path: Path, path: Path) -> None:
    log = open_log(tmp_path)
    state = Rollouts(log, [ROUTE]).of(ROUTE)
    assert [(r.student, r.stage, r.k) for r in state.rollouts] == [
        (STUDENT, Stage.SHADOW, 1),
        ("s2-bbbb", Stage.SHADOW, 2),
    ]
    assert [event.code_version for event in log.events] == ["test", "test"]
    log.close()


def test_a_torn_last_row_is_cut_off_and_logged(
    tmp_path: Path, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"seq": 3, "rou')
    with caplog.at_level(logging.WARNING):
        log = open_log(tmp_path)
    assert log.last_seq == 2 and path.read_bytes() == whole
    assert "never acknowledged" in caplog.text
    register(log, "s3-cccc")
    log.close()
    reopened = open_log(tmp_path)
    assert reopened.last_seq == 3
    reopened.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.replace(b"s1-aaaa", b"s1-aaab", 1),
        lambda data: data.split(b"\n", 1)[1],
        lambda data: b"half a row\n" + data,
        lambda data: data + data.split(b"\n")[1] + b"\n",
    ],
    ids=["changed", "row missing", "no event", "row twice"],
)
def test_a_broken_chain_is_refused_with_the_way_out(
    tmp_path: Path, path: Path, damage: object
) -> None:
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(BrokenChain) as refused:
        open_log(tmp_path)
    assert str(path) in str(refused.value) and "restore" in str(refused.value)


def test_rows_that_do_not_fold_are_a_broken_chain_too(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    register(log)
    log.append(log.events[0])
    with pytest.raises(BrokenChain, match="starts from"):
        Rollouts(log, [ROUTE])
    log.close()


def test_a_log_that_is_not_trusted_has_no_students_and_takes_no_event(tmp_path: Path) -> None:
    log = UnreadableLog(tmp_path / "events.jsonl", "row 3 was changed")
    assert Rollouts(log, [ROUTE]).of(ROUTE).rollouts == ()
    with pytest.raises(BrokenChain, match="row 3"):
        register(log)


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    with pytest.raises(FileProblem, match="another process"):
        open_log(tmp_path)
    log.close()


def test_an_event_that_cannot_be_written_changes_nothing(tmp_path: Path, path: Path) -> None:
    log = open_log(tmp_path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # As a disk that is full after ten more bytes.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, hard))
    try:
        with pytest.raises(FileProblem, match="nothing has changed"):
            register(log, "s3-cccc")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before and log.last_seq == 2
    register(log, "s3-cccc")
    log.close()
