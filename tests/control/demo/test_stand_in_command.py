from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

import httpx
import msgspec
import pytest

from control.demo.scene import Scene, write_scene
from tests.control.command_line import LIMBECK, clean_environment, limbeck
from tests.control.demo.test_processes import SCENE
from tests.control.stored import free_port
from tests.polling import until


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    scene = msgspec.structs.replace(SCENE, folder=str(tmp_path), provider_port=free_port())
    write_scene(scene)
    return scene


def test_it_says_where_it_listens_and_ends_with_ctrl_c(scene: Scene, tmp_path: Path) -> None:
    with subprocess.Popen(
        [str(LIMBECK), "stand-in", "--folder", "."], cwd=tmp_path, env=clean_environment({}),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert f"listens at {scene.provider_url}/v1, model frontier-stand-in" in said
            assert "Ctrl-C stops it" in said
            until(lambda: answers(scene), what="an answer of the stand-in")
        finally:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
    assert errors == ""


def answers(scene: Scene) -> bool:
    try:
        return httpx.get(f"{scene.provider_url}/healthz", trust_env=False).is_success
    except httpx.TransportError:
        return False


def test_a_taken_port_is_named(scene: Scene, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", scene.provider_port)):
        shown = limbeck("stand-in", "--folder", ".", cwd=tmp_path)
    assert shown.returncode == 2
    assert shown.stdout == ""
    assert f"can't listen on 127.0.0.1:{scene.provider_port}: in use" in shown.stderr


def test_it_needs_a_demo(tmp_path: Path) -> None:
    shown = limbeck("stand-in", "--folder", ".", cwd=tmp_path)
    assert shown.returncode == 2
    assert "no demo was made here" in shown.stderr
