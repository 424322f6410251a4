from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from control.demo.processes import Cast
from control.demo.scene import Scene, write_scene
from control.errors import ControlError
from tests.control.stored import free_port

SCENE = Scene(
    folder="", port=0, admin_port=0, provider_port=0, data=None, seed=7, requests=100, rate=40.0,
    after_rows=100, trainer="classifier", sample_rate=0.5, served=(1, 1, 1, 1), dwell_s=1.0,
    live=100, latency_s=0.1,
)  # fmt: skip


def test_an_actor_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    scene = msgspec.structs.replace(
        SCENE, folder=str(tmp_path), port=free_port(), admin_port=free_port(),
        provider_port=free_port(),
    )  # fmt: skip
    write_scene(scene)
    (tmp_path / "demo.json").unlink()
    (tmp_path / "limbeck.toml").write_text("[gateway]\nworkers = 'two'\n")
    with pytest.raises(ControlError) as caught, Cast(scene):
        pytest.fail("nothing can play here")
    said = str(caught.value)
    assert "stand-in ended with 2" in said or "limbeck ended with 2" in said
    assert "no demo was made here" in said or "workers" in said
    assert str(tmp_path) in said
