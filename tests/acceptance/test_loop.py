"""The whole loop, as `limbeck demo` plays it: taught, proved, promoted, and taken back."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import httpx
import msgspec
import pytest

from control.demo.result import DemoResult
from control.demo.scene import read_scene
from tests.acceptance.installation import LIMBECK, free_port
from tests.polling import until

pytestmark = pytest.mark.slow


def test_demo_with_the_classifier(tmp_path: Path) -> None:
    found = tmp_path / "result.json"
    done = subprocess.run(
        [
            str(LIMBECK), "demo", "--folder", str(tmp_path / "demo"), "--trainer", "classifier",
            "--rows", "900", "--rate", "40", "--latency", "0.2", "--port", str(free_port()),
            "--json", str(found),
        ],
        capture_output=True, text=True, timeout=400, check=False, env={**os.environ},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    result = msgspec.json.decode(found.read_bytes(), type=DemoResult)
    assert result.requests_failed == 0, done.stdout
    assert result.ending == "rolled_back", done.stdout
    assert result.teacher_side is not None and result.student_side is not None
    assert result.student_side.pairs >= 100
    assert result.detection_pairs is not None and 5 < result.detection_pairs < 500
    live = next(row for row in result.seen if row.part == "LIVE")
    assert live.by_student > 0.9
    report = (tmp_path / "demo" / "report.html").read_text()
    assert "ROLLED_BACK" in report and "<svg" in report
    lines = (tmp_path / "demo" / "data" / "rollouts" / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    # On a busy machine a late student is held for a while, and returns; the warning guard may be a
    # moment faster than the alarm; the drill at the end adds a row for the route.
    moves = [
        (event["stage_to"], event["event"])
        for event in events
        if event["stage_to"] and event["event"] not in ("availability_alarm", "healthy", "warn")
    ]
    stages = [stage for stage, _ in moves]
    assert stages == ["SHADOW", "READY", "R1", "R5", "R25", "R50", "LIVE", "ROLLED_BACK"]
    assert moves[-1] == ("ROLLED_BACK", "quality_alarm")
    taken_back = next(event for event in events if event["stage_to"] == "ROLLED_BACK")
    assert (result.rollback_s is not None) == (taken_back["weight_from"] > 0), done.stdout
    serve_again(tmp_path / "demo")


def serve_again(folder: Path) -> None:
    """The one command that the demo prints starts it again, and SIGTERM leaves nothing behind."""
    url = read_scene(folder).base_url

    def models() -> int | None:
        try:
            return httpx.get(f"{url}/models", trust_env=False).status_code
        except httpx.HTTPError:
            return None

    again = subprocess.Popen([str(LIMBECK), "demo", "--serve", "--folder", str(folder)])
    try:
        until(lambda: models() == 200, seconds=60, what="limbeck started again")
    finally:
        again.terminate()
        assert again.wait(60) == 0
    assert models() is None
