from __future__ import annotations

from pathlib import Path

import pytest

from control.cli import main
from control.demo.command import about_students
from tests.control.command_line import limbeck


def refused(tmp_path: Path, *words: str) -> str:
    shown = limbeck("demo", *words, cwd=tmp_path)
    assert shown.returncode == 2, shown.stdout + shown.stderr
    assert "Traceback" not in shown.stderr
    return shown.stderr


def test_help(tmp_path: Path) -> None:
    shown = limbeck("demo", "--help", cwd=tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "recorded_gpt4.csv and train.csv" in " ".join(shown.stdout.split())


def test_missing_data(tmp_path: Path) -> None:
    said = refused(tmp_path, "--data", "nowhere", "--folder", "demo")
    assert "nowhere/recorded_gpt4.csv: no such file" in said
    assert "--data wants a folder with recorded_gpt4.csv and train.csv" in said
    # Nothing was begun.
    assert not (tmp_path / "demo").exists()


def test_too_few_recorded_questions(tmp_path: Path) -> None:
    (tmp_path / "recorded_gpt4.csv").write_text("text,gold,gpt4\nhi,a,a\n")
    (tmp_path / "train.csv").write_text("text,gold\nho,a\n")
    said = refused(tmp_path, "--data", ".", "--folder", "demo", "--requests", "100")
    assert "the files hold 2 different questions; use --requests 2 or fewer" in said


def test_serve_needs_a_folder_with_a_demo(tmp_path: Path) -> None:
    assert "--serve needs --folder" in refused(tmp_path, "--serve")
    said = refused(tmp_path, "--serve", "--folder", "empty")
    assert "empty: no demo was made here" in said


def test_a_folder_in_use(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    assert "mine: is not empty" in refused(tmp_path, "--folder", "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    assert "thesis.txt: is a file" in refused(tmp_path, "--folder", "mine/thesis.txt")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--requests", "99"), "--requests must be at least 100"),
        (("--requests", "many"), "invalid int value: 'many'"),
        (("--rate", "0"), "--rate must be above 0"),
        (("--rate", "nan"), "--rate must be above 0"),
        (("--latency", "-1"), "--latency between 0 and 60"),
        (("--rows", "0"), "--rows must be at least 1"),
        (("--port", "70000"), "--port must be between 1 and 65535"),
        (("--json", "no/where.json"), "no/where.json: its folder does not exist"),
        (("--trainer", "magic"), "invalid choice: 'magic'"),
        (("--folder", "/proc/demo"), "/proc/demo: can't be written"),
    ],
)
def test_arguments_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["demo", *words])
    except SystemExit as error:  # argparse
        code = int(error.code or 0)
    assert code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_is_trained_is_told_where_the_demo_decides() -> None:
    both, alone = ("classifier", "embedded"), ("classifier",)
    told = about_students("auto", both)
    assert told is not None and "two kinds" in told and "the exam picks" in told
    for trainer in ("auto", "embedded"):
        said = about_students(trainer, alone)
        assert said is not None and "the classifier plays alone" in said
    assert about_students("classifier", alone) is None
    assert about_students("embedded", both) is None
