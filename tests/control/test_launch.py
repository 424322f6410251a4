from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from control.addresses import load_addresses
from control.config.quick import route_name, teacher_config
from control.config.values import Config
from control.errors import Refused, StartRefused
from control.layout import Layout
from control.secrets import load_secrets
from control.supervisor.child import ChildSpec
from control.supervisor.launch import Launch, console_script
from control.supervisor.summary import print_summary
from control.supervisor.supervisor import ProcessState
from tests.control.command_line import LIMBECK, clean_environment, limbeck
from tests.control.configs import PLAIN, PROGRAM, config_of
from tests.polling import until


def free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        for probe in (one, two):
            probe.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def text_of(extra: str = PLAIN) -> str:
    gateway, admin = free_ports()
    return (
        f'[gateway]\nbind = "127.0.0.1:{gateway}"\n[control]\nadmin_bind = "127.0.0.1:{admin}"\n'
        f"{extra}"
    )


def in_folder(folder: Path, extra: str = PLAIN) -> Config:
    return config_of(text_of(extra), folder=folder)


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def commands(specs: tuple[ChildSpec, ...]) -> dict[str, list[str]]:
    return {spec.name: list(spec.command[1:]) for spec in specs}


def test_the_children_of_a_plain_route(tmp_path: Path) -> None:
    with Launch(in_folder(tmp_path)) as launch:
        planned = commands(launch.specs)
        addresses = launch.addresses
    data = str(tmp_path / ".limbeck")
    assert planned == {
        "control": ["control", "--config", str(tmp_path / "limbeck.toml")],
        "student-server": [
            "student-server", "--bind", str(addresses.student_server), "--data", data,
        ],
        "trainer": ["trainer", "--bind", str(addresses.trainer), "--data", data],
        **{
            f"gateway.w{n}": [
                "gateway", "--name", f"w{n}", "--bind", str(addresses.gateway), "--data", data,
                "--spool-policy", "availability", "--max-spool-mb", "4096",
            ]
            for n in (1, 2)
        },
    }  # fmt: skip


def test_the_summary_says_what_apps_send(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = "Example-Org/An-Upper-Case-Model-With-A-Name-Of-More-Than-A-Narrow-Terminal" * 2
    config = teacher_config(
        f"local/{model}", base_url="http://127.0.0.1:1/v1", data=tmp_path, environment={}
    )
    with Launch(config) as launch:
        print_summary(launch, ready=True)
    lines = capsys.readouterr().out.splitlines()
    assert f'apps send  model = "{route_name(model)}"' in lines
    assert [line for line in lines if line != line.rstrip()] == []


def test_what_is_left_free_of_the_disk_is_passed_on(tmp_path: Path) -> None:
    text = text_of().replace("[gateway]", "[gateway]\nmin_free_mb = 100")
    config = config_of(text, folder=tmp_path)
    with Launch(config) as launch:
        assert commands(launch.specs)["gateway.w1"][-2:] == ["--min-free-mb", "100"]
    assert config.gateway.min_free_bytes == 100 << 20


def test_a_program_has_a_host_on_each_side(tmp_path: Path) -> None:
    with Launch(in_folder(tmp_path, PLAIN + PROGRAM)) as launch:
        hosts = [spec for spec in launch.specs if spec.name.startswith("program-host")]
        assert [spec.name for spec in hosts] == [
            "program-host.support.teacher",
            "program-host.support.student",
        ]
        assert hosts[0].command[1:5] == ("program-host", "support", "--side", "teacher")
        assert hosts[0].health_url == f"{launch.addresses.host('support', 'teacher').url}/healthz"


def test_no_trainer_where_nothing_is_distilled(tmp_path: Path) -> None:
    config = in_folder(tmp_path, f"{PLAIN}\n[routes.triage.distill]\nenabled = false")
    with Launch(config) as launch:
        assert "trainer" not in commands(launch.specs)


def test_the_gateway_stops_first_and_control_last(tmp_path: Path) -> None:
    with Launch(in_folder(tmp_path, PLAIN + PROGRAM)) as launch:
        order = sorted(launch.specs, key=lambda spec: spec.stop_rank)
    names = [spec.name.split(".")[0] for spec in order]
    assert (names[0], names[-1]) == ("gateway", "control")


def test_secrets_and_addresses_are_in_the_data_folder(tmp_path: Path) -> None:
    with Launch(in_folder(tmp_path)) as launch:
        assert load_secrets(launch.layout.secrets) == launch.secrets
        assert load_addresses(launch.layout.addresses) == launch.addresses
        environment = launch.specs[0].environment
    assert environment["LIMBECK_INTERNAL_KEY"] == launch.secrets.internal_key
    assert launch.secrets.admin_key not in environment.values()


def test_ports_in_use_are_named_together(tmp_path: Path, listener: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        admin = other.getsockname()[1]
        config = config_of(
            f'[gateway]\nbind = "127.0.0.1:{listener}"\n'
            f'[control]\nadmin_bind = "127.0.0.1:{admin}"\n',
            folder=tmp_path,
        )
        with pytest.raises(StartRefused) as caught:
            Launch(config)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"gateway.bind: port {listener} on 127.0.0.1 is in use: stop ")
    assert lines[1].startswith(f"control.admin_bind: port {admin} on 127.0.0.1 is in use: stop ")
    assert not Layout(data=tmp_path / ".limbeck").secrets.exists()


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    config = config_of(
        '[gateway]\nbind = "192.0.2.1:8000"\nkeys = { app = "env::APP_KEY" }', folder=tmp_path
    )
    with pytest.raises(StartRefused, match=r"gateway.bind: 192.0.2.1:8000 can't be listened on"):
        Launch(config)


def test_a_user_folder_with_a_router(tmp_path: Path) -> None:
    (tmp_path / "router.py").touch()
    (tmp_path / "programs").mkdir()
    with pytest.raises(StartRefused) as caught:
        Launch(in_folder(tmp_path, PLAIN + PROGRAM))
    assert 'has the name of limbeck\'s own package "router"' in str(caught.value)
    assert 'has the name of limbeck\'s own package "programs"' in str(caught.value)
    # Without code of the user nothing is imported from there.
    Launch(in_folder(tmp_path)).close()


def test_one_supervisor_a_data_folder(tmp_path: Path) -> None:
    config = in_folder(tmp_path)
    with (
        Launch(config),
        pytest.raises(Refused, match=rf"another `limbeck up` \(process {os.getpid()}\)"),
    ):
        Launch(config)
    Launch(config).close()


def test_a_failed_launch_lets_go_of_the_folder(tmp_path: Path, listener: int) -> None:
    taken = config_of(f'[gateway]\nbind = "127.0.0.1:{listener}"', folder=tmp_path)
    with pytest.raises(StartRefused):
        Launch(taken)
    Launch(in_folder(tmp_path)).close()


def test_the_console_script_is_ours() -> None:
    assert Path(console_script()) == LIMBECK


def test_up_with_a_port_in_use(tmp_path: Path, listener: int) -> None:
    (tmp_path / "limbeck.toml").write_text(f'[gateway]\nbind = "127.0.0.1:{listener}"\n')
    shown = limbeck("up", cwd=tmp_path)
    assert shown.returncode == 1
    assert shown.stderr.startswith(f"limbeck: gateway.bind: port {listener} on 127.0.0.1 is in use")


def test_up_with_a_bad_file_and_with_none(tmp_path: Path) -> None:
    missing = limbeck("up", cwd=tmp_path)
    assert missing.returncode == 2
    assert "limbeck.toml: not found in " in missing.stderr
    (tmp_path / "limbeck.toml").write_text("[gatway]")
    assert limbeck("up", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--teacher", "gpt-5"), "must be UPSTREAM/MODEL"),
        (("--teacher", "acme/x"), "add --base-url URL"),
        (("--teacher", "openai/gpt-5"), "OPENAI_API_KEY is not set"),
        (("--base-url", "http://x/v1"), "--base-url: belongs to --teacher"),
    ],
)
def test_up_without_a_file(tmp_path: Path, words: tuple[str, ...], part: str) -> None:
    shown = limbeck("up", *words, cwd=tmp_path)
    assert shown.returncode == 2
    assert part in shown.stderr


def test_up_starts_restarts_and_stops(tmp_path: Path) -> None:
    # Without routes only control and the gateway are needed: enough to see them live and die.
    (tmp_path / "limbeck.toml").write_text(text_of("[upstreams]"))
    state = tmp_path / ".limbeck" / "processes.json"

    def pid_of(name: str) -> int | None:
        if not state.exists():
            return None
        processes = msgspec.json.decode(state.read_bytes(), type=list[ProcessState])
        return next((p.pid for p in processes if p.name == name), None)

    out = (tmp_path / "out").open("w+")
    with (
        out,
        subprocess.Popen(
            [str(LIMBECK), "up"],
            cwd=tmp_path,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=clean_environment({}),
        ) as process,
    ):
        try:
            until(
                lambda: "limbeck is ready" in (tmp_path / "out").read_text(),
                seconds=60,
                what="the summary",
            )
            assert limbeck("up", cwd=tmp_path).returncode == 4
            worker = until(lambda: pid_of("gateway.w1"), what="a worker")
            assert worker is not None
            os.kill(worker, signal.SIGKILL)
            until(lambda: pid_of("gateway.w1") not in (None, worker), what="a new worker")
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
    shown = (tmp_path / "out").read_text()
    assert "gateway.w1 ended by SIGKILL; starts again in 0.2 s" in shown
    assert shown.splitlines()[-1].endswith("limbeck has stopped")
    assert not state.exists()
