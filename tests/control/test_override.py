from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from control.errors import FileProblem
from control.layout import Layout
from control.override import (
    KILL,
    ROLLBACK,
    live_workers,
    override_path,
    read_override,
    remove_override,
    wait_for_acknowledgements,
    write_override,
)
from router.snapshot import Override

ROOT = Path(__file__).resolve().parents[2]
WORKER = ROOT / "tests" / "fakes" / "gateway_worker.py"
Start = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(data=tmp_path)


@pytest.fixture
def start_worker(layout: Layout) -> Iterator[Start]:
    """Start fake workers: real processes that hold real locks."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, str(WORKER), str(layout.data), name],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def write(layout: Layout, action: str = ROLLBACK) -> tuple[Override, bool]:
    return write_override(
        layout.overrides, route="triage", action=action, actor="ana", reason="bad", now=1_000.5
    )


def test_what_is_written(layout: Layout) -> None:
    override, changed = write(layout)
    assert changed
    assert read_override(layout.overrides, "triage") == override
    assert (override.action, override.route, override.actor) == ("rollback", "triage", "ana")
    assert [path.name for path in layout.overrides.iterdir()] == ["triage.json"]


def test_a_repeated_command_changes_nothing(layout: Layout) -> None:
    first, _ = write(layout)
    assert write(layout) == (first, False)


def test_a_kill_replaces_a_rollback_but_not_the_reverse(layout: Layout) -> None:
    rollback, _ = write(layout)
    kill, changed = write(layout, KILL)
    assert changed
    assert kill.id != rollback.id
    assert write(layout, ROLLBACK) == (kill, False)


def test_a_damaged_override_is_replaced(layout: Layout) -> None:
    override_path(layout.overrides, "triage").parent.mkdir()
    override_path(layout.overrides, "triage").write_text("{")
    assert write(layout)[1] is True


def test_a_folder_that_can_not_be_written(layout: Layout) -> None:
    layout.overrides.write_text("a file in the way")
    with pytest.raises(FileProblem, match="the rollback is NOT in force"):
        write(layout)


def test_remove_only_what_was_folded(layout: Layout) -> None:
    folded, _ = write(layout)
    newer, _ = write(layout, KILL)
    before = override_path(layout.overrides, "triage").stat()
    assert remove_override(layout.overrides, folded) is False
    assert read_override(layout.overrides, "triage") == newer
    # Not even moved: for workers it is there all the time.
    assert override_path(layout.overrides, "triage").stat().st_ctime_ns == before.st_ctime_ns
    assert remove_override(layout.overrides, newer) is True
    assert remove_override(layout.overrides, newer) is False
    assert list(layout.overrides.iterdir()) == []


def test_all_workers_acknowledge(layout: Layout, start_worker: Start) -> None:
    start_worker("w1")
    start_worker("w2")
    started = time.monotonic()
    override, _ = write(layout)
    result = wait_for_acknowledgements(
        layout.acknowledgements, override.id, timeout_s=10, started=started
    )
    assert (result.workers, result.missing) == (("w1", "w2"), ())
    assert result.everywhere
    assert 0 < result.seconds <= time.monotonic() - started


def test_a_stopped_worker_is_named(layout: Layout, start_worker: Start) -> None:
    start_worker("w1")
    stopped = start_worker("w2")
    stopped.send_signal(signal.SIGSTOP)
    override, _ = write(layout)
    result = wait_for_acknowledgements(
        layout.acknowledgements, override.id, timeout_s=1, started=time.monotonic()
    )
    assert (result.workers, result.missing) == (("w1",), ("w2",))
    assert result.seconds >= 1


def test_a_dead_worker_is_not_waited_for(layout: Layout, start_worker: Start) -> None:
    start_worker("w1")
    dead = start_worker("w2")
    dead.kill()
    dead.wait()
    assert [name for name, _ in live_workers(layout.acknowledgements)] == ["w1"]
    override, _ = write(layout)
    result = wait_for_acknowledgements(
        layout.acknowledgements, override.id, timeout_s=10, started=time.monotonic()
    )
    assert (result.workers, result.missing) == (("w1",), ())


def test_a_worker_that_dies_meanwhile_is_not_waited_for(
    layout: Layout, start_worker: Start
) -> None:
    dying = start_worker("w1")
    dying.send_signal(signal.SIGSTOP)
    override, _ = write(layout)

    def pause(_: float) -> None:
        dying.kill()
        dying.wait()

    result = wait_for_acknowledgements(
        layout.acknowledgements,
        override.id,
        timeout_s=10,
        started=time.monotonic(),
        pause=pause,
    )
    assert (result.workers, result.missing) == ((), ())


def test_no_worker_at_all(layout: Layout) -> None:
    override, _ = write(layout)
    result = wait_for_acknowledgements(
        layout.acknowledgements, override.id, timeout_s=10, started=time.monotonic()
    )
    assert (result.workers, result.missing, result.everywhere) == ((), (), True)


def test_a_worker_that_has_said_nothing_yet_is_missing(layout: Layout) -> None:
    layout.acknowledgements.mkdir()
    with (layout.acknowledgements / "w9.json").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        override, _ = write(layout)
        result = wait_for_acknowledgements(
            layout.acknowledgements, override.id, timeout_s=0.05, started=time.monotonic()
        )
    assert (result.workers, result.missing, result.everywhere) == ((), ("w9",), False)
