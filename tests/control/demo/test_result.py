from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from control.demo.result import DemoResult, Seen, Side, print_result, seen
from control.demo.scene import Scene
from control.demo.story import pairs_between
from control.demo.traffic import Window
from control.report.model import Point

SCENE = Scene(
    folder="demo", port=1, admin_port=2, provider_port=3, data=None, seed=7, requests=500,
    rate=40.0, after_rows=900, trainer="auto", sample_rate=0.5, served=(3, 10, 40, 80),
    dwell_s=2.0, live=600, latency_s=0.45,
)  # fmt: skip
RESULT = DemoResult(
    about="generated support tickets", ending="rolled_back", reason="bar guard: M 10^6.6",
    student="s1-3fa2", trainer="classifier",
    teacher_side=Side(score=0.931, low=0.91, high=0.95, pairs=1_234),
    student_side=Side(score=0.92, low=0.9, high=0.94, pairs=1_234),
    requests_sent=5_600, requests_failed=0, detection_pairs=41, detection_s=2.5,
    rollback_s=0.043, command_s=1.25,
    seen=(
        Seen(part="teacher alone", sent=1_000, failed=0, right=0.93, p50_s=0.45, p95_s=1.2,
             by_student=0.0, cost_per_1000_usd=1.011),
        Seen(part="LIVE", sent=700, failed=2, right=None, p50_s=None, p95_s=None,
             by_student=0.98, cost_per_1000_usd=None),
    ),
    report="demo/report.html", seconds=120.0,
)  # fmt: skip


def printed(result: DemoResult) -> str:
    out = io.StringIO()
    print_result(Console(file=out, width=120, highlight=False), result, SCENE)
    return out.getvalue()


def test_the_table_and_the_figures() -> None:
    lines = [line.strip() for line in printed(RESULT).splitlines()]
    cells = [_cells(line) for line in lines]
    assert ["teacher alone", "1,000", "0", "0.930", "450 ms", "1.20 s", "0%", "$1.01"] in cells
    assert ["LIVE", "700", "2", "-", "-", "-", "98%", "-"] in cells
    text = "\n".join(lines)
    assert "how it ended                  rolled back: bar guard: M 10^6.6" in text
    assert "score of the teacher          0.931 (0.910 to 0.950) over 1,234 pairs" in text
    assert "requests sent / failed        5,600 / 0" in text
    assert "detection delay               41 pairs, 2.50 s" in text
    assert "rollback by the guard         43 ms to the last worker" in text
    assert "rollback by the command       1.25 s from its start" in text
    assert "Prices are assumptions" in text and "median 0.45 s" in text


def test_a_story_that_ended_early_says_what_there_is() -> None:
    early = msgspec.structs.replace(
        RESULT, ending="rejected", student=None, trainer=None, teacher_side=None,
        student_side=None, detection_pairs=None, detection_s=None, rollback_s=None, command_s=None,
    )  # fmt: skip
    text = printed(early)
    assert "rejected: bar guard" in text
    unfinished = msgspec.structs.replace(early, ending="unfinished", reason="")
    assert "how it ended                  unfinished\n" in printed(unfinished)
    for word in ("score of", "detection", "rollback by", "None"):
        assert word not in text


def test_a_result_is_read_again() -> None:
    assert msgspec.json.decode(msgspec.json.encode(RESULT), type=DemoResult) == RESULT


def test_what_callers_saw() -> None:
    window = Window(
        sent=5, failed=1, right=3, latencies_s=[0.1, 0.2, 0.3, 0.4],
        served_by={"student": 1, "teacher": 3}, cost_usd=0.004,
    )  # fmt: skip
    row = seen("ramp", window)
    assert (row.right, row.by_student, row.cost_per_1000_usd) == (0.75, 0.25, 1.0)
    nothing = seen("ramp", Window(sent=2, failed=2))
    assert (nothing.right, nothing.p50_s, nothing.cost_per_1000_usd) == (None, None, None)
    assert nothing.by_student == 0.0


@pytest.mark.parametrize("step", [1, 3])
def test_pairs_are_counted_by_their_places(step: int) -> None:
    """A report keeps every n-th point of a long history."""
    points = [
        Point(
            seq=n, ts=float(n), log_e=0.0, log_futility=0.0, log_guard=None, teacher=1, student=1,
            recent_teacher=1, recent_student=1,
        )
        for n in range(1, 100, step)
    ]  # fmt: skip
    assert pairs_between(points, 40.5, 70.5) == pytest.approx(30, abs=step - 1)
    assert pairs_between(points, 200.0, 300.0) == 0
    assert pairs_between([], 0.0, 1.0) == 0


def _cells(line: str) -> list[str]:
    return [part.strip() for part in line.split("  ") if part.strip()]
