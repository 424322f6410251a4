from __future__ import annotations

from pathlib import Path

import pytest

from tests.control.command_line import limbeck
from tests.control.configs import PLAIN


def test_process_commands_report_their_own_errors(tmp_path: Path) -> None:
    shown = limbeck("trainer", "--bind", "nowhere", cwd=tmp_path)
    assert shown.returncode == 2
    assert "limbeck: --bind nowhere: must be" in shown.stderr


TEACHER = ("--teacher", "local/m", "--base-url", "http://127.0.0.1:1/v1")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("init", "afile"), 1, "limbeck: afile: File exists"),
        (("up", *TEACHER, "--data", "afile"), 1, "limbeck: {here}/afile: File exists"),
        (("gateway", "--data", "afile"), 1, "limbeck: {here}/afile: File exists"),
        (("trainer", "--data", "afile/x"), 1, "limbeck: {here}/afile/x: Not a directory"),
        (("training-worker", "nosuch"), 1, "limbeck: {here}/nosuch"),
        (("gateway", "--name", "a/b"), 2, "limbeck gateway: error: argument --name: "),
    ],
)
def test_a_path_that_can_not_be_is_told_in_one_line(
    tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    (tmp_path / "afile").touch()
    shown = limbeck(*words, cwd=tmp_path)
    assert shown.returncode == code
    assert shown.stderr.splitlines()[-1].startswith(said.format(here=tmp_path))
    assert "Traceback" not in shown.stderr


def test_a_program_host_of_a_route_without_program(tmp_path: Path) -> None:
    (tmp_path / "limbeck.toml").write_text(PLAIN)
    shown = limbeck("program-host", "triage", "--side", "teacher", cwd=tmp_path)
    assert shown.returncode == 2
    assert 'no program serves a route "triage"; routes with a program: none' in shown.stderr
