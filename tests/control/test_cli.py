from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from control.cli import COMMANDS, PROCESSES
from control.layout import Layout
from control.override import read_override
from control.snapshot_file import write_snapshot
from control.startup import PACKAGES, ROOT, hidden_packages
from programs import user_folder
from router.snapshot import Route, Snapshot, StudentRoute, Target
from tests.control.command_line import LIMBECK, limbeck
from tests.control.configs import PLAIN

WORKER = ROOT / "tests" / "fakes" / "gateway_worker.py"
TARGET = Target(upstream="u", model="m")
#: what the person on call must not wait for
HEAVY = (
    "pydantic", "rich", "httpx", "fastapi", "uvicorn", "duckdb", "apscheduler", "dspy", "openai",
    "asyncio", "logging", "subprocess", "control.config.load", "control.admin_client",
)  # fmt: skip


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A data folder beside no configuration file, with one route whose student serves."""
    layout = Layout(data=tmp_path / ".limbeck")
    student = StudentRoute(student="s1-00ff", target=TARGET, stage="R5", weight=0.05)
    routes = {"triage": Route(teacher=TARGET, students=(student,)), "idle": Route(teacher=TARGET)}
    write_snapshot(layout, Snapshot(version=1, epoch=1, config_hash="c", routes=routes))
    return layout


@pytest.fixture
def worker(layout: Layout) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, str(WORKER), str(layout.data), "w1"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def test_help_lists_every_command(tmp_path: Path) -> None:
    for words in ((), ("--help",)):
        shown = limbeck(*words, cwd=tmp_path)
        assert shown.returncode == 0
        for name in (*COMMANDS, *PROCESSES):
            assert re.search(rf"^  {name} +\S", shown.stdout, re.MULTILINE), name


def test_version(tmp_path: Path) -> None:
    assert re.fullmatch(r"limbeck \d+\.\d+\.\d+\n", limbeck("--version", cwd=tmp_path).stdout)


@pytest.mark.parametrize("name", sorted((COMMANDS.keys() | PROCESSES.keys()) - {"demo"}))
def test_every_command_has_help(tmp_path: Path, name: str) -> None:
    shown = limbeck(name, "--help", cwd=tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"usage: limbeck {name}")


def test_an_unknown_command_names_the_nearest(tmp_path: Path) -> None:
    shown = limbeck("rollbak", cwd=tmp_path)
    assert shown.returncode == 2
    assert shown.stderr == 'limbeck: unknown command "rollbak"; did you mean "rollback"?\n'
    assert "`limbeck --help`" in limbeck("zzz", cwd=tmp_path).stderr


def test_an_unknown_option(tmp_path: Path) -> None:
    assert limbeck("status", "--colour", cwd=tmp_path).returncode == 2


def test_a_namesake_in_front_is_refused_before_it_runs(tmp_path: Path) -> None:
    (tmp_path / "router.py").write_text("raise SystemExit('the namesake ran')")
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "__init__.py").write_text("raise SystemExit('the namesake ran')")
    shown = limbeck("status", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert shown.returncode == 1
    lines = shown.stderr.splitlines()
    assert [re.search(r'own package "(\w+)" is hidden', line)[1] for line in lines] == [  # type: ignore[index]
        "router",
        "programs",
    ]
    assert str(tmp_path / "router.py") in lines[0]


def test_all_our_packages_are_found() -> None:
    assert hidden_packages() == []
    assert len(hidden_packages(Path("/elsewhere"))) == len(PACKAGES)


def test_user_folders_are_checked_for_the_same_names() -> None:
    # Two lists, as nothing of ours may be imported before the first one is looked at.
    assert user_folder.PACKAGES == PACKAGES


def test_config_check(tmp_path: Path) -> None:
    (tmp_path / "limbeck.toml").write_text(PLAIN)
    missing = limbeck("config", "check", cwd=tmp_path)
    assert missing.returncode == 2
    assert missing.stderr == (
        "limbeck: limbeck.toml: upstreams.openai.api_key: the environment variable OPENAI_API_KEY "
        "is not set: export OPENAI_API_KEY=...\n"
    )
    fine = limbeck("config", "check", "--json", cwd=tmp_path, OPENAI_API_KEY="x")
    assert fine.returncode == 0
    assert json.loads(fine.stdout)["routes"] == ["triage"]


def test_config_check_as_json(tmp_path: Path) -> None:
    (tmp_path / "limbeck.toml").write_text("[gatway]\n[contrl]")
    shown = limbeck("config", "check", "--json", cwd=tmp_path)
    assert shown.returncode == 2
    assert json.loads(shown.stdout) == {
        "ok": False,
        "problems": [
            {
                "file": "limbeck.toml",
                "key": "gatway",
                "message": 'unknown key; did you mean "gateway"?',
            },
            {
                "file": "limbeck.toml",
                "key": "contrl",
                "message": 'unknown key; did you mean "control"?',
            },
        ],
    }


def test_config_show_needs_no_secret_and_shows_none(tmp_path: Path) -> None:
    (tmp_path / "limbeck.toml").write_text(PLAIN)
    shown = limbeck("config", "show", cwd=tmp_path, OPENAI_API_KEY="sk-secret-value")
    assert shown.returncode == 0
    assert 'api_key = "env::OPENAI_API_KEY"' in shown.stdout
    assert "sk-secret-value" not in shown.stdout
    (tmp_path / "shown.toml").write_text(shown.stdout)
    again = limbeck("config", "show", "--config", "shown.toml", cwd=tmp_path)
    assert again.stdout.splitlines()[1:] == shown.stdout.splitlines()[1:]


def test_malformed_toml(tmp_path: Path) -> None:
    (tmp_path / "limbeck.toml").write_text("[gateway\n")
    shown = limbeck("config", "check", cwd=tmp_path)
    assert shown.returncode == 2
    assert shown.stderr.startswith("limbeck: limbeck.toml: line 1, column 9: malformed TOML: ")


def test_init_writes_what_the_check_accepts(tmp_path: Path) -> None:
    assert limbeck("init", "--program", cwd=tmp_path).returncode == 0
    fine = limbeck("config", "check", cwd=tmp_path, OPENAI_API_KEY="x")
    assert (fine.returncode, fine.stderr) == (0, "")
    assert (tmp_path / "app" / "program.py").exists()


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "limbeck.toml").write_text("# mine\n")
    shown = limbeck("init", "--program", cwd=tmp_path)
    assert shown.returncode == 4
    assert "limbeck.toml: exists, nothing was written" in shown.stderr
    assert (tmp_path / "limbeck.toml").read_text() == "# mine\n"
    assert not (tmp_path / "app").exists()


def test_rollback_with_a_worker(layout: Layout, worker: object) -> None:
    shown = limbeck(
        "rollback", "triage", "--reason", "bad answers", "--actor", "ana", "--json",
        cwd=layout.data.parent,
    )  # fmt: skip
    assert shown.returncode == 0
    said = json.loads(shown.stdout)
    override = read_override(layout.overrides, "triage")
    assert override is not None
    assert (override.action, override.actor, override.reason) == ("rollback", "ana", "bad answers")
    assert said.pop("seconds") > 0
    assert said == {
        "route": "triage",
        "action": "rollback",
        "override": override.id,
        "changed": True,
        "was_serving": ["s1-00ff"],
        "workers": ["w1"],
        "missing": [],
    }


def test_rollback_says_how_long_it_took(layout: Layout, worker: object) -> None:
    shown = limbeck("rollback", "triage", cwd=layout.data.parent)
    assert re.fullmatch(
        r"triage: rollback in force, the teacher answers everything\.\n"
        r"1 of 1 gateway workers acknowledged, \d\.\d{3} s after the start of this command\.\n",
        shown.stdout,
    )


def test_a_repeated_rollback(layout: Layout) -> None:
    limbeck("rollback", "triage", cwd=layout.data.parent)
    first = read_override(layout.overrides, "triage")
    shown = limbeck("rollback", "triage", cwd=layout.data.parent)
    assert shown.returncode == 0
    assert "was in force already, no change" in shown.stdout
    assert read_override(layout.overrides, "triage") == first


@pytest.mark.parametrize("seconds", ["-1", "nan", "soon"])
def test_rollback_waits_no_less_than_no_time(layout: Layout, seconds: str) -> None:
    shown = limbeck("rollback", "triage", "--timeout", seconds, cwd=layout.data.parent)
    assert shown.returncode == 2 and "must be a number of seconds, 0 or more" in shown.stderr
    assert read_override(layout.overrides, "triage") is None


def test_rollback_with_a_frozen_worker(layout: Layout, worker: subprocess.Popen[bytes]) -> None:
    worker.send_signal(signal.SIGSTOP)
    shown = limbeck("rollback", "triage", "--timeout", "0.3", cwd=layout.data.parent)
    assert shown.returncode == 1
    assert "0 of 1 gateway workers acknowledged" in shown.stdout
    assert "Missing: w1" in shown.stdout


@pytest.mark.parametrize("name", ["auto", "quality guard"])
def test_rollback_in_the_name_of_automation_is_refused(layout: Layout, name: str) -> None:
    shown = limbeck("rollback", "triage", "--actor", name, cwd=layout.data.parent)
    assert shown.returncode == 2 and "give the name of a person" in shown.stderr
    assert read_override(layout.overrides, "triage") is None


def test_rollback_without_a_worker(layout: Layout) -> None:
    shown = limbeck("kill", "triage", cwd=layout.data.parent)
    assert shown.returncode == 0
    assert "triage: kill in force" in shown.stdout
    assert "No gateway worker is running" in shown.stdout


def test_rollback_where_no_student_serves(layout: Layout) -> None:
    assert "no student was serving" in limbeck("rollback", "idle", cwd=layout.data.parent).stdout


@pytest.mark.parametrize("route", ["tirage", "../triage"])
def test_rollback_of_an_unknown_route(layout: Layout, route: str) -> None:
    shown = limbeck("rollback", route, cwd=layout.data.parent)
    assert shown.returncode == 2
    assert shown.stderr == (
        f'limbeck: unknown route "{route}"; the routes in force: idle, triage\n'
    )
    assert not layout.overrides.exists()


def test_rollback_with_broken_snapshots_still_works(layout: Layout) -> None:
    for path in (layout.snapshot, layout.last_good_snapshot):
        path.write_text("{")
    assert limbeck("rollback", "triage", cwd=layout.data.parent).returncode == 0
    assert read_override(layout.overrides, "triage") is not None
    assert limbeck("rollback", "../triage", cwd=layout.data.parent).returncode == 2


def test_rollback_with_a_half_edited_configuration(layout: Layout) -> None:
    (layout.data.parent / "limbeck.toml").write_text("[gateway\n")
    assert limbeck("rollback", "triage", cwd=layout.data.parent).returncode == 0


def test_the_data_folder_is_found(layout: Layout, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    lost = limbeck("rollback", "triage", cwd=elsewhere)
    assert lost.returncode == 2
    assert "there is no data folder of limbeck" in lost.stderr
    data = str(layout.data)
    assert limbeck("rollback", "triage", "--data", data, cwd=elsewhere).returncode == 0
    assert limbeck("rollback", "triage", cwd=elsewhere, LIMBECK_DATA=data).returncode == 0
    # An empty variable names nothing, least of all the folder that one stands in.
    assert limbeck("rollback", "triage", cwd=tmp_path, LIMBECK_DATA="").returncode == 0
    (elsewhere / "limbeck.toml").write_text(f'[control]\ndata = "{data}"\n')
    assert limbeck("rollback", "triage", cwd=elsewhere).returncode == 0


def test_a_disk_that_takes_no_override(layout: Layout) -> None:
    layout.overrides.write_text("a file in the way")
    shown = limbeck("rollback", "triage", cwd=layout.data.parent)
    assert shown.returncode == 1
    assert "NOT in force" in shown.stderr


def test_rollback_loads_nothing_heavy(layout: Layout) -> None:
    code = (
        "import sys\nfrom control.cli import main\n"
        f"code = main(['rollback', 'triage', '--data', {str(layout.data)!r}])\n"
        "print('\\n'.join(sys.modules)); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.splitlines())
    assert "control.override" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_the_reader_may_leave_early(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f"'{LIMBECK}' config show --config '{ROOT}/limbeck.toml' | head -1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert msgspec.json.encode(done.stdout)


@pytest.mark.parametrize("words", ["--help", "status --help"])
def test_the_reader_of_the_help_may_leave_before_it_comes(tmp_path: Path, words: str) -> None:
    # `true` reads nothing, and the pipe is closed for sure before anything is written.
    waiting = f"exec 3> >(:); wait $!; '{LIMBECK}' {words} >&3"
    done = subprocess.run(
        ["bash", "-c", waiting], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""


USER_CODE = """
[routes.support]
program = "app.support:{program}"
lm = "openai/gpt-5"
metric = "app.metrics:{metric}"
"""


def user_code(folder: Path, *, program: str, metric: str) -> None:
    (folder / "app").mkdir()
    (folder / "app" / "metrics.py").write_text(
        "def right(example, prediction, trace=None):\n    return True\n"
    )
    (folder / "app" / "support.py").write_text(
        "import dspy\nprint('hello')\n"
        "def build():\n    return dspy.Predict('question -> answer')\n"
        "def broken():\n    raise ValueError('no index')\n"
    )
    (folder / "limbeck.toml").write_text(PLAIN + USER_CODE.format(program=program, metric=metric))


def test_config_check_loads_programs_and_metrics(tmp_path: Path) -> None:
    user_code(tmp_path, program="broken", metric="rihgt")
    shown = limbeck("config", "check", cwd=tmp_path, OPENAI_API_KEY="x")
    assert (shown.returncode, shown.stdout) == (2, "")
    program, metric = shown.stderr.splitlines()
    assert program == (
        'limbeck: limbeck.toml: routes.support.program: program "app.support:broken" raised '
        "ValueError: no index"
    )
    assert metric.startswith("limbeck: limbeck.toml: routes.support.metric: metric ")
    assert 'has no "rihgt"' in metric
    as_json = limbeck("config", "check", "--json", cwd=tmp_path, OPENAI_API_KEY="x")
    problems = json.loads(as_json.stdout)["problems"]
    assert [one["key"] for one in problems] == ["routes.support.program", "routes.support.metric"]


def test_config_check_of_programs_and_metrics_that_load(tmp_path: Path) -> None:
    user_code(tmp_path, program="build", metric="right")
    shown = limbeck("config", "check", cwd=tmp_path, OPENAI_API_KEY="x")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert ": fine. Routes: triage, support." in shown.stdout
    assert not (tmp_path / ".limbeck").exists(), "a check leaves nothing behind"
