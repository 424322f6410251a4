"""Starts the stand-in provider and limbeck beside each other, and ends both."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType

import httpx

from control.demo.scene import Scene
from control.errors import ControlError
from control.supervisor.launch import console_script

_START_S = 90.0
_STOP_S = 40.0
_POLL_S = 0.1


class Cast:
    """The running demo: ``limbeck up`` and the stand-in provider."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._running: list[tuple[str, subprocess.Popen[bytes], Path]] = []

    def __enter__(self) -> Cast:
        try:
            folder = str(self._scene.path)
            self._start("stand-in", ("stand-in", "--folder", folder))
            self._start("limbeck", ("up", *self._scene.place))
            self._wait(f"{self._scene.provider_url}/healthz")
            self._wait(f"{self._scene.base_url.removesuffix('/v1')}/readyz")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def check(self) -> None:
        """Raise `ControlError` if one of the two has ended."""
        for name, process, log in self._running:
            if process.poll() is not None:
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise ControlError(f"{name} ended with {process.returncode}; {log}:\n{tail}")

    def kill(self, name: str) -> None:
        """End one of the two at once, as a crash would (SIGKILL)."""
        next(process for known, process, _ in self._running if known == name).kill()

    def stop(self) -> None:
        """End both; whoever does not end in time is killed."""
        for _, process, _ in reversed(self._running):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for _, process, _ in reversed(self._running):
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def _start(self, name: str, words: tuple[str, ...]) -> None:
        log = self._scene.path / f"{name}.log"
        environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        with log.open("ab") as file:
            process = subprocess.Popen(
                [console_script(), *words], stdout=file, stderr=file, stdin=subprocess.DEVNULL,
                env=environment, start_new_session=True,
            )  # fmt: skip
        self._running.append((name, process, log))

    def _wait(self, url: str) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            self.check()
            try:
                if httpx.get(url, trust_env=False, timeout=2.0).is_success:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(_POLL_S)
        raise ControlError(f"{url} did not answer within {_START_S:g} s; see {self._scene.path}")
