"""Real metric runners: whatever a metric does, the driver gets a score or the reason for none."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from programs.errors import LoadError, ProgramError
from programs.metric_client import ExactMatch, Metric, MetricRunner, metric_for
from programs.metric_hash import metric_hash
from programs.score import Score
from programs.settings import MetricRunnerSettings
from tests.polling import until
from tests.programs.hosts import APP

EXAMPLE = {"text": "my card", "category": "lost"}


@asynccontextmanager
async def metric(name: str, *, timeout_s: float = 20.0) -> AsyncIterator[MetricRunner]:
    settings = MetricRunnerSettings(route="triage", metric=name, user_dir=APP)
    runner = MetricRunner(
        settings, metric_hash=metric_hash(name, APP), timeout_s=timeout_s, start_timeout_s=20.0
    )
    try:
        yield runner
    finally:
        await runner.close()


def runner_of(name: str, folder: Path) -> Metric:
    return metric_for(name, metric_hash=metric_hash(name, folder), route="triage", user_dir=folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [("right", 1.0), ("strict", 0.25), ("five", 0.5), ("two", 1.0), ("with_feedback", 0.0)],
)
async def test_every_form_of_a_metric(name: str, value: float) -> None:
    async with metric(f"metrics:{name}") as runner:
        await runner.check()
        assert await runner.score(EXAMPLE, {"category": "lost"}) == Score(value=value)


async def test_one_child_scores_many_predictions() -> None:
    async with metric("metrics:right") as runner:
        scores = [await runner.score(EXAMPLE, {"category": c}) for c in ("lost", "x", "lost ")]
        assert [score.value for score in scores] == [1.0, 0.0, 1.0]


async def test_a_metric_does_not_see_the_key_of_our_own_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMBECK_INTERNAL_KEY", "inside")
    monkeypatch.setenv("JUDGE_KEY", "of the user")
    (tmp_path / "curious_metric.py").write_text(
        "import os\n"
        "def keys(example, prediction, trace=None):\n"
        "    return 'JUDGE_KEY' in os.environ and 'LIMBECK_INTERNAL_KEY' not in os.environ\n"
    )
    runner = runner_of("curious_metric:keys", tmp_path)
    assert await runner.score({}, {}) == Score(value=1.0)
    await runner.close()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("raises", "ZeroDivisionError: over nothing (metrics.py, line 38)"),
        ("exits", "the metric called exit(3)"),
        ("hungry", "MemoryError"),
        ("nan", "returned nan"),
        ("nothing", "returned None"),
        ("percent", "returned 85.0: a score lies between 0 and 1"),
        ("text", "returned str"),
    ],
)
async def test_a_failing_metric_is_not_scored(name: str, words: str) -> None:
    async with metric(f"metrics:{name}") as runner:
        for _ in range(2):  # the child lives on
            score = await runner.score(EXAMPLE, {"category": "lost"})
            assert score.value is None
            assert words in (score.not_scored or "")


async def test_a_field_that_is_not_there_is_named() -> None:
    async with metric("metrics:right") as runner:
        score = await runner.score({"text": "a"}, {"category": "lost"})
        assert score.not_scored == (
            "AttributeError: example has no 'category'; it has text (metrics.py, line 16)"
        )


async def test_prints_and_reads_do_not_touch_the_protocol() -> None:
    async with metric("metrics:prints") as runner:
        for _ in range(3):
            assert await runner.score(EXAMPLE, {"category": "lost"}) == Score(value=1.0)


async def test_a_hanging_metric_is_ended_and_the_next_call_works() -> None:
    async with metric("metrics:hangs", timeout_s=0.5) as runner:
        score = await runner.score(EXAMPLE, {"category": "hang"})
        assert score.not_scored == "the metric took more than 0.5 s"
        assert await runner.score(EXAMPLE, {"category": "lost"}) == Score(value=1.0)


async def test_a_frozen_child_that_reads_nothing_is_ended(tmp_path: Path) -> None:
    (tmp_path / "known_pid.py").write_text(
        "import os, pathlib\n"
        "def metric(example, prediction, trace=None):\n"
        "    pathlib.Path(example.file).write_text(str(os.getpid()))\n"
        "    return 1.0\n"
    )
    settings = MetricRunnerSettings(route="triage", metric="known_pid:metric", user_dir=tmp_path)
    hashed = metric_hash("known_pid:metric", tmp_path)
    runner = MetricRunner(settings, metric_hash=hashed, timeout_s=2.0)
    example = {"file": str(tmp_path / "pid")}
    assert await runner.score(example, {}) == Score(value=1.0)
    pid = int((tmp_path / "pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(30):  # more than its pipe takes
            score = await runner.score(example, {"text": "x" * (2 << 20)})
        assert score.not_scored == "the metric took more than 2 s"
        assert await runner.score(example, {}) == Score(value=1.0)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        await runner.close()


@pytest.mark.parametrize(
    ("ends", "code"), [("sys.exit(3)", 3), ("raise ValueError", 1), ("return 0.9", 0)]
)
async def test_what_a_metric_forks_takes_no_part_in_the_protocol(
    tmp_path: Path, ends: str, code: int
) -> None:
    (tmp_path / "forking.py").write_text(
        "import os, sys\n"
        "def metric(example, prediction, trace=None):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        f"        {ends}\n"
        "    _, status = os.waitpid(pid, 0)\n"
        f"    return prediction.score if os.waitstatus_to_exitcode(status) == {code} else 0.0\n"
    )
    runner = runner_of("forking:metric", tmp_path)
    try:
        for value in (0.25, 0.5, 0.75):
            assert await runner.score({}, {"score": value}) == Score(value=value)
    finally:
        await runner.close()


async def test_a_dying_metric_is_not_scored_and_the_next_call_works() -> None:
    async with metric("metrics:dies") as runner:
        score = await runner.score(EXAMPLE, {"category": "die"})
        assert "ended with code 7" in (score.not_scored or "")
        assert await runner.score(EXAMPLE, {"category": "lost"}) == Score(value=1.0)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere:metric", "there is no module nowhere"),
        ("metrics:nowhere", 'has no "nowhere"'),
        ("metrics:not_callable", "is a float"),
        ("metrics:one", "can't be called with an example and a prediction"),
        ("metrics:keyword", "can't be called with an example and a prediction"),
        ("metrics:Judge", "can't be called with an example and a prediction"),
        ("broken:metric", "this module cannot be imported"),
    ],
)
async def test_a_metric_that_cannot_be_loaded(name: str, words: str) -> None:
    async with metric(name) as runner:
        with pytest.raises(LoadError, match=words):
            await runner.check()
        score = await runner.score(EXAMPLE, {})
        assert words in (score.not_scored or "")


async def test_an_edited_metric_does_not_score_under_the_old_ones_name(tmp_path: Path) -> None:
    (tmp_path / "helping.py").write_text("SCORE = 1.0\n")
    (tmp_path / "edited.py").write_text(
        "import os\n"
        "from helping import SCORE\n"
        "def metric(example, prediction, trace=None):\n"
        "    return SCORE if prediction['answer'] == 'a' else os._exit(7)\n"
    )
    runner = runner_of("edited:metric", tmp_path)
    assert await runner.score({}, {"answer": "a"}) == Score(value=1.0)
    (tmp_path / "helping.py").write_text("SCORE = 0.5\n")
    assert await runner.score({}, {"answer": "a"}) == Score(value=1.0), "the child is the old one"
    await runner.score({}, {"answer": "the child ends"})
    with pytest.raises(LoadError, match="its source has changed since control started"):
        await runner.check()
    (tmp_path / "helping.py").write_text("SCORE = 1.0\n")
    assert await runner.score({}, {"answer": "a"}) == Score(value=1.0)
    await runner.close()


async def test_a_metric_that_never_loads() -> None:
    settings = MetricRunnerSettings(route="triage", metric="sleepy:metric", user_dir=APP)
    hashed = metric_hash("sleepy:metric", APP)
    runner = MetricRunner(settings, metric_hash=hashed, start_timeout_s=1.0)
    with pytest.raises(LoadError, match="did not load within 1 s"):
        await runner.check()


async def test_a_user_folder_with_a_name_of_ours(tmp_path: Path) -> None:
    (tmp_path / "router.py").write_text("")
    runner = runner_of("metrics:right", tmp_path)
    with pytest.raises(ProgramError, match=r"router\.py has the name of limbeck's own package"):
        await runner.check()


async def test_exact_match_needs_no_child() -> None:
    built_in = runner_of("exact_match(category)", APP)
    assert isinstance(built_in, ExactMatch)
    await built_in.check()
    assert await built_in.score(EXAMPLE, {"category": " LOST"}) == Score(value=1.0)
    await built_in.close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_a_hanging_child_does_not_outlive_its_parent() -> None:
    route = f"orphan-{uuid.uuid4()}"
    script = f"""
import asyncio, pathlib
from programs.metric_client import metric_for
from programs.metric_hash import metric_hash
name, folder = "metrics:hangs", pathlib.Path({str(APP)!r})
hashed = metric_hash(name, folder)
runner = metric_for(name, metric_hash=hashed, route={route!r}, user_dir=folder)
asyncio.run(runner.score({{}}, {{"category": "hang"}}))
"""
    parent = subprocess.Popen([sys.executable, "-I", "-"], stdin=subprocess.PIPE)
    assert parent.stdin is not None
    parent.stdin.write(script.encode())
    parent.stdin.close()
    try:
        until(lambda: _children(route), seconds=20, what="the child runs")
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    until(lambda: not _children(route), what="the child is gone")


def _children(route: str) -> list[str]:
    """Pids of metric runners of a route that are no zombies."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if route in (folder / "cmdline").read_text():
                found.append(folder.name)
        except OSError:
            continue
    return found
