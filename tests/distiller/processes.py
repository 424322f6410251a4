"""The real trainer and student server as child processes of a test, spoken to with openai's SDK."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai

from tests.polling import until

KEY = "test-key"
_KEY_ENV = "LIMBECK_INTERNAL_KEY"
_LAUNCH = Path(__file__).with_name("launch.py")


class Server:
    """A running process and how to reach it."""

    def __init__(self, command: str, settings: dict[str, Any], *, hidden: str = "") -> None:
        settings = {"port": free_port(), **settings}
        self.port: int = settings["port"]
        self.settings = settings
        self._clients: list[openai.OpenAI] = []
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `_close`
        self.process = subprocess.Popen(
            _command(command, settings),
            env={**os.environ, _KEY_ENV: KEY, "HIDDEN_PACKAGES": hidden},
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        self.url = f"http://127.0.0.1:{self.port}"
        try:
            until(self._is_ready, seconds=30, what=f"{command} on port {self.port}")
        except BaseException:
            self.kill()
            raise

    def client(self, key: str = KEY) -> openai.OpenAI:
        client = openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60)
        self._clients.append(client)
        return client

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {KEY}", **options.pop("headers", {})}
        return httpx.request(method, self.url + path, headers=headers, timeout=30, **options)

    def output(self) -> str:
        self._output.seek(0)
        return self._output.read().decode()

    def stop(self) -> int:
        """End the process as a supervisor does, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        self._close()
        return code

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)
        self._close()

    def _close(self) -> None:
        self._output.close()
        for client in self._clients:
            client.close()

    def _is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"ended with {self.process.returncode}: {self.output()}")
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/healthz").json() == {"ok": True}
        return False


@contextlib.contextmanager
def trainer(folder: Path, **options: Any) -> Iterator[Server]:
    hidden = options.pop("hidden", "")
    with _running(Server("trainer", {"folder": folder, **options}, hidden=hidden)) as server:
        yield server


@contextlib.contextmanager
def student_server(students: Path, **options: Any) -> Iterator[Server]:
    hidden = options.pop("hidden", "")
    settings = {"students": students, **options}
    with _running(Server("student-server", settings, hidden=hidden)) as server:
        yield server


@contextlib.contextmanager
def _running(server: Server) -> Iterator[Server]:
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


def refusal(command: str, key: str = KEY, **settings: Any) -> str:
    """Start a process that must end by itself with an error; return what it said."""
    ended = subprocess.run(
        _command(command, settings),
        env={**os.environ, _KEY_ENV: key},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode != 0
    return ended.stderr


def _command(command: str, settings: dict[str, Any]) -> list[str]:
    return [sys.executable, str(_LAUNCH), command, json.dumps(settings, default=str)]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
