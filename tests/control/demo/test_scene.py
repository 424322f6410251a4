from __future__ import annotations

import json
import shlex
import socket
from pathlib import Path

import msgspec
import pytest

from control.config.load import load_config
from control.demo.scene import (
    ROUTE,
    STUDENT_PRICE,
    Scene,
    free_port,
    fresh_folder,
    read_scene,
    write_scene,
)
from control.demo.stand_in import MODEL, PRICE_IN
from control.demo.world import RecordedWorld, TicketWorld
from control.errors import BadInput


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(
        folder=str(tmp_path / "demo"), port=18_100, admin_port=18_101, provider_port=18_190,
        data=None, seed=7, requests=500, rate=40.0, after_rows=900, trainer="auto",
        sample_rate=0.5, served=(3, 10, 40, 80), dwell_s=2.0, live=600, latency_s=0.45,
    )  # fmt: skip


def test_the_question_to_try_is_a_request(scene: Scene) -> None:
    words = shlex.split(scene.try_it)
    assert words[0] == "curl"
    assert f"{scene.base_url}/chat/completions" in words
    body = json.loads(words[words.index("-d") + 1])
    assert body["model"] == ROUTE
    assert body["messages"][0]["role"] == "user"


def test_the_written_configuration_has_no_problem(scene: Scene) -> None:
    write_scene(scene)
    config = load_config(scene.config, environment={})
    route = config.routes[ROUTE]
    assert (config.gateway.bind.port, config.control.admin_bind.port) == (18_100, 18_101)
    assert config.upstreams["stand_in"].prices[MODEL].input_per_m == PRICE_IN
    assert route.student_price.output_per_m == STUDENT_PRICE
    assert route.feedback == {"helpdesk": "all"}
    assert route.distill.after_rows == 900
    assert [getattr(route.policy.rollout, step).served for step in ("r1", "r5", "r25", "r50")] == [
        3, 10, 40, 80,
    ]  # fmt: skip
    # The program lies beside it, under the name that the configuration asks for.
    assert route.program == "tickets_app:build"
    assert "def build()" in (scene.path / "tickets_app.py").read_text()


def test_a_scene_is_read_again(scene: Scene) -> None:
    write_scene(scene)
    assert read_scene(scene.path) == scene
    assert isinstance(scene.world(), TicketWorld)


def test_no_scene(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no demo was made here"):
        read_scene(tmp_path)
    (tmp_path / "demo.json").write_text('{"folder": "x"}')
    with pytest.raises(BadInput, match=r"no demo was made here.*port"):
        read_scene(tmp_path)


def test_bad_data_is_told_by_the_scene(scene: Scene, tmp_path: Path) -> None:
    real = msgspec.structs.replace(scene, data=str(tmp_path / "nothing"))
    with pytest.raises(BadInput, match=r"recorded_gpt4\.csv: no such file"):
        real.world()
    for name, rows in (
        ("recorded_gpt4", "text,gold,gpt4\nhi,a,a\n"),
        ("train", "text,gold\nho,a\n"),
    ):
        (tmp_path / f"{name}.csv").write_text(rows)
    assert isinstance(msgspec.structs.replace(scene, data=str(tmp_path)).world(), RecordedWorld)


def test_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert fresh_folder(None) == tmp_path / "limbeck-demo"
    (tmp_path / "limbeck-demo").mkdir()
    (tmp_path / "limbeck-demo-2").touch()
    assert fresh_folder(None) == tmp_path / "limbeck-demo-3"
    assert fresh_folder(Path("new/place")) == tmp_path / "new" / "place"
    assert fresh_folder(Path("limbeck-demo")) == tmp_path / "limbeck-demo"
    with pytest.raises(BadInput, match="limbeck-demo-2: is a file"):
        fresh_folder(Path("limbeck-demo-2"))
    (tmp_path / "limbeck-demo" / "x").touch()
    with pytest.raises(BadInput, match=r"is not empty.*--serve --folder limbeck-demo"):
        fresh_folder(Path("limbeck-demo"))


def test_free_port() -> None:
    taken: set[int] = set()
    with socket.create_server(("127.0.0.1", 0)) as held:
        wanted = held.getsockname()[1]
        one = free_port(wanted, taken)
        assert one > wanted
        assert free_port(wanted, taken) > one
        assert len(taken) == 2


def test_no_free_port() -> None:
    with pytest.raises(BadInput, match=r"no free port on 127\.0\.0\.1 from 65530 on"):
        free_port(65_530, set(range(65_530, 65_536)))
