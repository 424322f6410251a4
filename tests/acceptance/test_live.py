"""A student that is LIVE: callers keep getting answers while processes die, and it is taken back.

The tests run in order on one limbeck; the rollback comes last.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from tests.acceptance.driving import drive_to, stage_of, traffic
from tests.acceptance.installation import ROUTE, Installation, installation, small_scene
from tests.polling import until

pytestmark = [pytest.mark.slow, pytest.mark.long]

QUESTION = "I was charged twice for order A12345, please help"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A limbeck whose student is LIVE."""
    with installation(small_scene(tmp_path_factory.mktemp("live"))) as limbeck:
        with traffic(limbeck):
            drive_to(limbeck, "LIVE")
        yield limbeck


def ask(client: openai.OpenAI, **more: object) -> tuple[str, str]:
    """Content of an answer, and who gave it."""
    raw = client.chat.completions.with_raw_response.create(
        model=ROUTE, messages=[{"role": "user", "content": QUESTION}], **more
    )  # type: ignore[call-overload]
    content = raw.parse().choices[0].message.content
    assert content
    return content, raw.headers["x-limbeck-served-by"]


def streamed(client: openai.OpenAI) -> str:
    chunks = client.chat.completions.create(
        model=ROUTE, messages=[{"role": "user", "content": QUESTION}], stream=True
    )
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def test_answers_plain_and_streamed(live: Installation) -> None:
    with live.client() as client:
        assert "duplicate_charge" in ask(client)[0]
        assert "duplicate_charge" in streamed(client)


def test_most_requests_are_served_by_the_student(live: Installation) -> None:
    with live.client() as client:
        served = [ask(client, user=f"person {n}")[1] for n in range(100)]
    assert served.count("student") > 85
    assert set(served) <= {"student", "teacher"}


def test_control_killed(live: Installation) -> None:
    with live.client() as client:
        before = live.signal("control", signal.SIGKILL)
        for _ in range(20):
            ask(client)
        assert streamed(client)
    until(lambda: live.pid("control") != before, seconds=30, what="control started again")


@pytest.mark.parametrize("victim", ["student-server", f"program-host.{ROUTE}.student"])
def test_student_side_killed(live: Installation, victim: str) -> None:
    with live.client() as client:
        before = live.signal(victim, signal.SIGKILL)
        served = [ask(client, user=f"{victim} {n}")[1] for n in range(30)]
        assert streamed(client)
    assert "teacher" in served, "somebody answered while the student side was dead"
    until(lambda: live.pid(victim) != before, seconds=30, what=f"{victim} started again")


def test_gateway_worker_killed(live: Installation) -> None:
    before = live.signal("gateway.w1", signal.SIGKILL)
    # Its open connections may break; a new connection works.
    for _ in range(20):
        with live.client() as client:
            ask(client)
    until(lambda: live.pid("gateway.w1") != before, seconds=30, what="the worker started again")


def test_rollback_with_control_frozen_then_dead(live: Installation) -> None:
    # Its side was killed before, so the availability guard may have held the student for a while.
    until(lambda: "student" in served_by(live), seconds=60, what="the student serves")
    pid = live.signal("control", signal.SIGSTOP)
    rolled_back_by_all(live)
    assert served_by(live) == {"teacher"}
    os.kill(pid, signal.SIGCONT)
    # Control folds the override into the event log when it is back, and keeps the traffic there.
    until(lambda: stage_of(live) == "ROLLED_BACK", seconds=60, what="the event of the rollback")
    assert served_by(live) == {"teacher"}
    live.signal("control", signal.SIGKILL)
    rolled_back_by_all(live)
    assert served_by(live) == {"teacher"}
    until(lambda: stage_of(live) == "ROLLED_BACK", seconds=60, what="control started again")


def rolled_back_by_all(limbeck: Installation) -> None:
    """Run `limbeck rollback`; every worker acknowledges."""
    done = limbeck.run("rollback", ROUTE, "--reason", "a test", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert sorted(said["workers"]) == ["w1", "w2"] and not said["missing"]


def served_by(limbeck: Installation) -> set[str]:
    with limbeck.client() as client, ThreadPoolExecutor(8) as callers:
        asked = callers.map(lambda n: ask(client, user=f"someone {n}")[1], range(40))
        return set(asked)
