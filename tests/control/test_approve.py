"""`limbeck report` and `limbeck approve`, which names what was read."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from control.layout import Layout
from control.status import Ordered
from router.stages import Stage
from tests.control.answers import a_report
from tests.control.command_line import LIMBECK, clean_environment, limbeck
from tests.fakes.admin import Answer, FakeAdmin


def serve_report(admin: FakeAdmin) -> None:
    admin.answers["GET /routes/triage/report"] = Answer(
        a_report(), headers=(("x-limbeck-report", "f" * 64),)
    )


def test_report_writes_three_files(layout: Layout, admin: FakeAdmin, tmp_path: Path) -> None:
    serve_report(admin)
    shown = limbeck("report", "triage", "--out", "out", cwd=tmp_path)
    assert shown.returncode == 0
    assert "It may serve." in shown.stdout
    assert "  teacher: 0.93 (0.90 to 0.95)\n  pairs: 70\n" in shown.stdout
    assert f"report {'f' * 12}\n" in shown.stdout
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == [f"triage-{'f' * 12}.{form}" for form in ("html", "json", "md")]
    as_json = limbeck("report", "triage", "--json", cwd=tmp_path)
    said = json.loads(as_json.stdout)
    assert said["report"] == "f" * 64
    assert Path(said["files"]["html"]).parent == layout.reports


def test_approve_names_the_report(layout: Layout, admin: FakeAdmin) -> None:
    admin.answers["POST /routes/triage:approve"] = Answer(
        Ordered(
            route="triage", order="approve", student="s1-00ff", changed=True, stage=Stage.R1,
            weight=0.01, reason="",
        )
    )  # fmt: skip
    words = ("approve", "triage", "--report", "abc", "--actor", "ana", "--reason", "read it")
    shown = limbeck(*words, cwd=layout.data.parent)
    assert shown.returncode == 0
    assert shown.stdout == "triage s1-00ff: approve done. Now R1 at weight 0.01.\n"
    assert admin.asked[-1].body == {"report": "abc", "actor": "ana", "reason": "read it"}


def test_approve_of_another_report_is_refused(layout: Layout, admin: FakeAdmin) -> None:
    error = {"error": {"message": "report abc is not the current report of triage"}}
    admin.answers["POST /routes/triage:approve"] = Answer(error, status=412)
    shown = limbeck("approve", "triage", "--report", "abc", cwd=layout.data.parent)
    assert shown.returncode == 4
    assert "not the current report" in shown.stderr


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Our side and their side of a terminal."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_approve_without_a_person_to_ask_needs_the_hash(
    layout: Layout, admin: FakeAdmin, terminal: tuple[int, int], words: tuple[str, ...]
) -> None:
    serve_report(admin)
    done = subprocess.run(
        [str(LIMBECK), "approve", "triage", *words],
        cwd=layout.data.parent,
        stdin=terminal[1] if words else subprocess.DEVNULL,
        timeout=60,
        capture_output=True,
        env=clean_environment({}),
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--report HASH: needed with --json, and without a terminal" in done.stderr


def test_the_end_of_the_input_is_no_yes(
    layout: Layout, admin: FakeAdmin, terminal: tuple[int, int]
) -> None:
    serve_report(admin)
    os.write(terminal[0], b"\x04")
    done = subprocess.run(
        [str(LIMBECK), "approve", "triage"],
        cwd=layout.data.parent,
        stdin=terminal[1],
        timeout=60,
        capture_output=True,
        env=clean_environment({}),
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, b"")
    assert [asked for asked in admin.asked if asked.method == "POST"] == []


@pytest.mark.parametrize(("answer", "approved"), [(b"y\n", True), (b"\n", False)])
def test_approve_at_a_terminal_shows_the_verdict_and_asks(
    layout: Layout, admin: FakeAdmin, terminal: tuple[int, int], answer: bytes, approved: bool
) -> None:
    serve_report(admin)
    admin.answers["POST /routes/triage:approve"] = Answer(
        Ordered(
            route="triage", order="approve", student="s1-00ff", changed=True, stage=Stage.R1,
            weight=0.01, reason="",
        )
    )  # fmt: skip
    ours, theirs = terminal
    os.write(ours, answer)
    with subprocess.Popen(
        [str(LIMBECK), "approve", "triage"],
        cwd=layout.data.parent,
        stdin=theirs,
        stdout=subprocess.PIPE,
        env=clean_environment({}),
    ) as process:
        assert process.stdout is not None
        shown = process.stdout.read().decode()
    assert process.returncode == 0
    assert "It may serve." in shown
    assert "note: no reverse shadow" in shown
    posted = [asked.body for asked in admin.asked if asked.method == "POST"]
    assert len(posted) == approved
    assert ("Nothing was approved." in shown) is not approved
