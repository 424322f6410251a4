"""`limbeck rollback` works without control: dead or frozen."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest

from tests.acceptance.driving import drive_to, stage_of, traffic
from tests.acceptance.installation import ROUTE, Installation, installation, small_scene
from tests.polling import until

pytestmark = pytest.mark.slow


@pytest.fixture
def ramping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A limbeck whose student is LIVE, with callers."""
    scene = small_scene(tmp_path_factory.mktemp("rollback"))
    with installation(scene) as limbeck, traffic(limbeck):
        drive_to(limbeck, "LIVE")
        yield limbeck


def served_by(limbeck: Installation) -> set[str]:
    with limbeck.client() as client:
        found = set()
        for n in range(40):
            raw = client.chat.completions.with_raw_response.create(
                model=ROUTE, messages=[{"role": "user", "content": "where is my order A10001"}],
                user=f"someone {n}",
            )  # fmt: skip
            found.add(raw.headers["x-limbeck-served-by"])
        return found


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_rollback_without_control(ramping: Installation, number: signal.Signals) -> None:
    assert "student" in served_by(ramping)
    pid = ramping.signal("control", number)
    done = ramping.run("rollback", ROUTE, "--reason", "a test", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert sorted(said["workers"]) == ["w1", "w2"] and not said["missing"]
    assert served_by(ramping) == {"teacher"}
    if number is signal.SIGSTOP:
        os.kill(pid, signal.SIGCONT)
    # Control folds the override into the event log when it is back, and keeps the traffic there.
    until(lambda: stage_of(ramping) == "ROLLED_BACK", seconds=60, what="the event of the rollback")
    assert served_by(ramping) == {"teacher"}
    again = ramping.run("rollback", ROUTE, "--json")
    assert again.returncode == 0, again.stderr
