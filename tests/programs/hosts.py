"""Real program hosts for the tests: a process each, on a free port."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.polling import until
from traces.record import PredictorCall, unpack
from traces.spool import list_segments, read_frames

APP = Path(__file__).parent.parent / "fakes" / "programs_app"
KEY = "internal-key-of-the-tests"
_LAUNCHER = Path(__file__).parent.parent / "fakes" / "program_host.py"


@dataclass(kw_only=True)
class Host:
    """A running host."""

    client: httpx.Client
    spool: Path
    students: Path
    process: subprocess.Popen[bytes]
    model: str

    def ask(self, text: str, *, trace: str | None = None, **body: Any) -> httpx.Response:
        """Ask one question with the chat API."""
        headers = {"x-limbeck-inference-id": trace} if trace else {}
        messages = [{"role": "user", "content": text}]
        return self.post({"model": self.model, "messages": messages, **body}, headers)

    def post(
        self, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        return self.client.post("/v1/chat/completions", json=body, headers=headers)

    def calls(self, trace: str) -> list[PredictorCall]:
        """Return the recorded predictor calls of a request, in order."""
        found: list[PredictorCall] = []
        for segment in list_segments(self.spool):
            for payload in read_frames(segment.path, 0).payloads:
                header, _, _ = unpack(payload)
                if isinstance(header, PredictorCall) and header.trace_id == trace:
                    found.append(header)
        return sorted(found, key=lambda call: call.seq)


def content(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["message"]["content"])


@contextmanager
def running_host(folder: Path, factory: str, lm: str, **settings: Any) -> Iterator[Host]:
    """Run a host of the teacher's side, unless ``settings`` say otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    values = {
        "route": "triage",
        "side": "teacher",
        "factory": factory,
        "user_dir": str(APP),
        "lm": {"base_url": lm, "model": "frontier/model-1"},
        "students": str(folder / "students"),
        "spool": str(folder / "spool"),
        "port": port,
        **settings,
    }
    process = start(folder, values)
    client = httpx.Client(
        base_url=f"http://127.0.0.1:{port}",
        headers={"authorization": f"Bearer {KEY}"},
        timeout=30,
    )

    def healthy() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            return client.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    try:
        until(healthy, seconds=30, what="the program host answers")
        yield Host(
            client=client,
            spool=folder / "spool",
            students=folder / "students",
            process=process,
            model=f"{values['route']}@teacher",
        )
    finally:
        client.close()
        process.terminate()
        process.wait(timeout=30)


def start(folder: Path, values: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    """Start a host's process; its output goes to ``folder/log``."""
    file = folder / "settings.json"
    file.write_text(json.dumps(values))
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-I", str(_LAUNCHER), str(file)],
            env={**os.environ, "LIMBECK_INTERNAL_KEY": KEY},
            stdout=log,
            stderr=log,
        )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
