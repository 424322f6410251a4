"""A limbeck of its own for an acceptance test: the real command, real processes, real sockets."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai

from control.admin_client import AdminClient
from control.demo.processes import Cast
from control.demo.scene import ROUTE, Scene, write_scene
from control.errors import ControlUnreachable
from control.layout import Layout
from control.status import Status
from tests.polling import until

LIMBECK = Path(sys.executable).parent / "limbeck"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def small_scene(folder: Path, **changes: Any) -> Scene:
    """The demo's scene with everything scaled down: a student is LIVE within seconds."""
    values: dict[str, Any] = {
        "folder": str(folder),
        "port": free_port(),
        "admin_port": free_port(),
        "provider_port": free_port(),
        "data": None,
        "seed": 7,
        "requests": 6_000,
        # More would keep two cores busy, and everything would wait for everything.
        "rate": 40.0,
        # With fewer rows some students stand just at the bar, and the gate rightly takes its time.
        "after_rows": 800,
        "trainer": "classifier",
        "sample_rate": 1.0,
        "served": (1, 1, 5, 5),
        "dwell_s": 0.2,
        "live": 100,
        # The student's deadline is half as long again: a busy machine must keep that, too.
        "latency_s": 0.4,
    }
    return Scene(**{**values, **changes})


class Installation:
    """A running limbeck with the demo's program and stand-in provider."""

    def __init__(self, scene: Scene, cast: Cast) -> None:
        self.scene = scene
        self.cast = cast
        self.layout = Layout(data=scene.path / "data")
        self.world = scene.world()

    def client(self, timeout: float = 30.0) -> openai.OpenAI:
        """A plain SDK client: only the base URL is changed, and it never retries."""
        return openai.OpenAI(
            base_url=self.scene.base_url, api_key="any", max_retries=0, timeout=timeout
        )

    def pid(self, name: str) -> int:
        """Process id of a child, waited for while it is being restarted."""

        def look() -> int | None:
            states = json.loads((self.layout.data / "processes.json").read_text())
            return next((s["pid"] for s in states if s["name"] == name and s["pid"]), None)

        found = until(look, seconds=30, what=f"a process named {name}")
        assert found is not None
        return found

    def signal(self, name: str, number: signal.Signals) -> int:
        pid = self.pid(name)
        os.kill(pid, number)
        return pid

    def status(self) -> dict[str, Any]:
        """What control says, waited for while it is being started again."""

        def look() -> dict[str, Any] | None:
            try:
                with AdminClient(self.layout) as admin:
                    found: dict[str, Any] = msgspec.to_builtins(admin.get("/status", Status))
                    return found
            except ControlUnreachable:
                return None

        found = until(look, seconds=30, what="an answer of control")
        assert found is not None
        return found

    def run(self, *words: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command of the console script against this installation."""
        return subprocess.run(
            [str(LIMBECK), *words, "--config", str(self.scene.config)],
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def feedback(self, inference_id: str, truth: str) -> None:
        body = {
            "inference_id": inference_id, "metric": "truth", "value": True,
            "gold": {"category": truth}, "source": "helpdesk",
        }  # fmt: skip
        httpx.post(f"{self.scene.base_url}/feedback", json=body, trust_env=False).raise_for_status()


@contextmanager
def installation(scene: Scene) -> Iterator[Installation]:
    scene.path.mkdir(parents=True, exist_ok=True)
    write_scene(scene)
    with Cast(scene) as cast:
        yield Installation(scene, cast)


def eventually(check: Callable[[], object], *, seconds: float, what: str) -> None:
    until(lambda: bool(check()), seconds=seconds, what=what)


__all__ = ["LIMBECK", "ROUTE", "Installation", "eventually", "installation", "small_scene"]
