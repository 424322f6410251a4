from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from control.addresses import load_addresses
from control.commands.process import add_configured
from control.commands.process import config_of as read_config
from control.config.load import load_config
from control.config.quick import route_name, teacher_config
from control.config.values import Address, Config
from control.errors import Refused, StartRefused
from control.layout import Layout
from control.lock import FileLock
from control.secrets import load_secrets
from control.supervisor.child import ChildSpec
from control.supervisor.health import answers_ok
from control.supervisor.launch import Launch, console_script
from control.supervisor.summary import print_summary
from control.supervisor.supervisor import ProcessState
from tests.control.command_line import LIMBECK, clean_environment, limbeck
from tests.control.configs import ENVIRONMENT, PLAIN, PROGRAM, config_of
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
        "control": [
            "control", "--config", f"{data}/up.toml", "--user-dir", str(tmp_path), "--data", data,
        ],
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


def test_what_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    """A full disk keeps nobody from starting as before."""
    config = in_folder(tmp_path)
    file = tmp_path / ".limbeck" / "up.toml"
    with Launch(config):
        before = file.stat()
    with Launch(config):
        assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    file.unlink()
    file.mkdir()
    with pytest.raises(StartRefused, match=r"up\.toml: can't be written \(Is a directory\)"):
        Launch(config)


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
    with Launch(config) as launch:
        with pytest.raises(Refused, match=rf"another `limbeck up` \(process {os.getpid()}\)"):
            Launch(in_folder(tmp_path, "[upstreams]"))
        # What the first one started still reads what it was started with.
        assert load_config(launch.layout.configuration, environment=None).hash == config.hash
    Launch(config).close()


def test_the_children_have_the_configuration_and_the_folder_of_the_start(tmp_path: Path) -> None:
    config = in_folder(tmp_path, PLAIN + PROGRAM)
    with Launch(config) as launch:
        planned = commands(launch.specs)
    parser = argparse.ArgumentParser()
    add_configured(parser)
    for name in ("control", "program-host.support.student"):
        args = parser.parse_args(planned[name][planned[name].index("--config") :])
        read = read_config(args, environment=ENVIRONMENT, user_dir=args.user_dir)
        assert (read.hash, read.folder) == (config.hash, config.folder)
        assert read.control.data == config.control.data


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
        (("--bind", "127.0.0.1:9000"), "--bind: belongs to --teacher"),
        (("--teacher", "a/b", "--base-url", "http://x/v1", "--bind", "x"), "limbeck: --bind x: "),
    ],
)
def test_up_without_a_file(tmp_path: Path, words: tuple[str, ...], part: str) -> None:
    shown = limbeck("up", *words, cwd=tmp_path)
    assert shown.returncode == 2
    assert part in shown.stderr


def test_a_port_in_use_without_a_file_names_an_option(tmp_path: Path, listener: int) -> None:
    words = ("up", "--teacher", "local/m", "--base-url", "http://127.0.0.1:1/v1")
    shown = limbeck(*words, "--bind", f"127.0.0.1:{listener}", cwd=tmp_path)
    assert shown.returncode == 1
    said = shown.stderr.splitlines()[0]
    assert said.startswith(f"limbeck: gateway.bind: port {listener} on 127.0.0.1 is in use")
    assert said.endswith("or give another --bind HOST:PORT (the admin API has the port after it)")


def test_the_admin_api_is_beside_the_gateway_without_a_file(tmp_path: Path) -> None:
    for port, beside in ((9000, 9001), (65_535, 65_534)):
        config = teacher_config(
            "local/m", base_url="http://127.0.0.1:1/v1", data=tmp_path, environment={},
            bind=Address(host="127.0.0.1", port=port),
        )  # fmt: skip
        assert config.gateway.bind.port == port
        assert config.control.admin_bind == Address(host="127.0.0.1", port=beside)


@pytest.mark.parametrize("command", ["up", "control"])
@pytest.mark.parametrize("named", [(("--data", "there"), {}), ((), {"LIMBECK_DATA": "there"})])
def test_the_data_folder_may_be_named(
    tmp_path: Path, command: str, named: tuple[tuple[str, ...], dict[str, str]]
) -> None:
    (tmp_path / "limbeck.toml").write_text(text_of("[upstreams]"))
    words, environment = named
    there = Layout(data=tmp_path / "there")
    lock = there.supervisor_lock if command == "up" else there.control_lock
    with FileLock(lock, who="test", way_out="wait"):
        shown = limbeck(command, *words, cwd=tmp_path, **environment)
    assert shown.returncode == 4
    assert f"{lock}: another " in shown.stderr
    assert not (tmp_path / ".limbeck").exists()


def pid_of(folder: Path, name: str) -> int | None:
    state = folder / ".limbeck" / "processes.json"
    if not state.exists():
        return None
    processes = msgspec.json.decode(state.read_bytes(), type=list[ProcessState])
    return next((p.pid for p in processes if p.name == name), None)


def kill_and_see_it_again(folder: Path, name: str) -> None:
    before = until(lambda: pid_of(folder, name), seconds=60, what=name)
    assert before is not None
    os.kill(before, signal.SIGKILL)
    until(lambda: pid_of(folder, name) not in (None, before), what=f"a new {name}")


def test_up_starts_restarts_and_stops(tmp_path: Path) -> None:
    # Without routes only control and the gateway are needed: enough to see them live and die.
    (tmp_path / "limbeck.toml").write_text(text := text_of("[upstreams]"))
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
            kill_and_see_it_again(tmp_path, "gateway.w1")
            # An edit has its effect at the next start, and not where control happens to restart.
            (tmp_path / "limbeck.toml").write_text("[gateway")
            kill_and_see_it_again(tmp_path, "control")
            admin = tomllib.loads(text)["control"]["admin_bind"]
            until(lambda: answers(f"http://{admin}/healthz"), seconds=60, what="control again")
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
    shown = (tmp_path / "out").read_text()
    assert "gateway.w1 ended by SIGKILL; starts again in 0.2 s" in shown
    assert shown.splitlines()[-1].endswith("limbeck has stopped")
    assert not (tmp_path / ".limbeck" / "processes.json").exists()


def answers(url: str) -> bool:
    return asyncio.run(answers_ok(url))


def test_up_watches_its_processes_when_nobody_reads_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "limbeck.toml").write_text(text := text_of("[upstreams]"))
    reader, writer = os.pipe()
    ready = f"http://{tomllib.loads(text)['control']['admin_bind']}/healthz"
    os.close(reader)
    with subprocess.Popen(
        [str(LIMBECK), "up"],
        cwd=tmp_path,
        stdout=writer,
        stderr=writer,
        env=clean_environment({}),
    ) as process:
        os.close(writer)
        try:
            # Not before the summary would have come.
            until(lambda: answers(ready), seconds=60, what="control")
            kill_and_see_it_again(tmp_path, "gateway.w1")
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
