"""A folder with a snapshot, and real worker processes that follow it."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
import msgspec
import openai

from gateway.files import write_atomically
from gateway.worker import WorkerSettings
from router.snapshot import (
    Acknowledgement,
    AppKey,
    Override,
    Route,
    Snapshot,
    StudentRoute,
    Target,
    Upstream,
)
from tests.polling import until
from traces.record import Header, RequestEnd, unpack
from traces.spool import list_segments, read_frames

ROOT = Path(__file__).parents[2]
#: a new connection for each request, so that each may meet another worker of a port
HTTP = httpx.Client(verify=False, timeout=20, limits=httpx.Limits(max_keepalive_connections=0))
STUDENT = "s1-aaaa"
LONG_S = 3600.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def teacher_route(model: str = "teacher-model", *, upstream: str = "up", **more: Any) -> Route:
    return Route(teacher=Target(upstream=upstream, model=model), **{"salt": "salt", **more})


def student_route(
    student_model: str = "student-model",
    *,
    weight: float = 1.0,
    valid_for_s: float = LONG_S,
    stage: str = "LIVE",
    student_upstream: str = "up",
    **more: Any,
) -> Route:
    student = StudentRoute(
        student=STUDENT,
        target=Target(upstream=student_upstream, model=student_model),
        stage=stage,
        weight=weight,
        valid_until=time.time() + valid_for_s,
    )
    return teacher_route(students=(student,), **{"holdout": 0.0, **more})


def snapshot(
    base_url: str, routes: dict[str, Route] | None = None, *, version: int = 1, **more: Any
) -> Snapshot:
    """A snapshot with one upstream, ``up``, and without keys."""
    upstreams = {"up": Upstream(base_url=base_url), **more.pop("upstreams", {})}
    defaults: dict[str, Any] = {"version": version, "epoch": 1, "config_hash": "c0ffee"}
    return Snapshot(
        upstreams=upstreams,
        routes={"triage": teacher_route()} if routes is None else routes,
        **{**defaults, **more},
    )


def keys(**named: AppKey) -> dict[str, AppKey]:
    """Return the snapshot's keys; the argument's name is the secret, with - for _."""
    return {
        hashlib.sha256(secret.replace("_", "-").encode()).hexdigest(): key
        for secret, key in named.items()
    }


@dataclass
class WorkerProcess:
    """One started worker."""

    process: subprocess.Popen[str]
    settings: WorkerSettings
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    def openai(self, key: str = "unused", **more: Any) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=key, **{"max_retries": 0, "timeout": 20.0, **more}
        )

    def acknowledgement(self) -> Acknowledgement:
        path = self.settings.acknowledgements / f"{self.settings.worker}.json"
        return msgspec.json.decode(path.read_bytes(), type=Acknowledgement)

    def metric(self, line: str) -> float:
        """Return a metric by what stands before its value; 0 if it is not there."""
        for text in HTTP.get(f"{self.url}/metrics").text.splitlines():
            name, _, value = text.rpartition(" ")
            if name == line:
                return float(value)
        return 0.0

    def wait_until_it_answers(self) -> None:
        def answers() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"the worker ended:\n{self.log.read_text()}")
            try:
                return HTTP.get(f"{self.url}/healthz").status_code == 200
            except httpx.TransportError:
                return False

        until(answers, seconds=20, what="the worker's first answer")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the process and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(40)


@dataclass
class Rig:
    """The files of one limbeck, and its workers."""

    folder: Path
    workers: list[WorkerProcess] = field(default_factory=list)

    @property
    def snapshot(self) -> Path:
        return self.folder / "snapshot.json"

    @property
    def overrides(self) -> Path:
        return self.folder / "overrides"

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    def publish(self, snapshot: Snapshot) -> None:
        write_atomically(self.snapshot, msgspec.json.encode(snapshot))

    def override(self, route: str, id: str = "override-1") -> None:
        self.overrides.mkdir(exist_ok=True)
        override = Override(
            id=id, action="rollback", route=route, actor="me", reason="test", time=time.time()
        )
        write_atomically(self.overrides / f"{route}.json", msgspec.json.encode(override))

    def start(
        self,
        worker: str = "w1",
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        spool_policy: Literal["availability", "audit"] = "availability",
        max_spool_bytes: int = 1 << 30,
        min_free_bytes: int | None = None,
        drain_s: int = 30,
        env: dict[str, str] | None = None,
        wait: bool = True,
        arguments: tuple[str, ...] = (),
    ) -> WorkerProcess:
        settings = WorkerSettings(
            host=host,
            port=port or free_port(),
            worker=worker,
            snapshot=self.snapshot,
            last_good=self.folder / "snapshot.good.json",
            overrides=self.overrides,
            acknowledgements=self.folder / "acks",
            spool=self.spool,
            spool_policy=spool_policy,
            max_spool_bytes=max_spool_bytes,
            min_free_bytes=min_free_bytes,
            drain_s=drain_s,
        )
        file = self.folder / f"{worker}.settings.json"
        file.write_bytes(msgspec.json.encode(settings, enc_hook=str))
        log = self.folder / f"{worker}.log"
        with log.open("a") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.gateway.start_worker", str(file), *arguments],
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        started = WorkerProcess(process, settings, log)
        self.workers.append(started)
        if wait:
            started.wait_until_it_answers()
        return started

    def close(self) -> None:
        for worker in self.workers:
            worker.stop(signal.SIGKILL)

    def frames(self) -> list[tuple[Header, bytes, bytes]]:
        """Return all frames of the spool, request and response beside each header."""
        if not self.spool.exists():
            return []
        return [
            unpack(payload)
            for segment in list_segments(self.spool)
            for payload in read_frames(segment.path, 0).payloads
        ]

    def ends(self) -> list[RequestEnd]:
        return [header for header, _, _ in self.frames() if isinstance(header, RequestEnd)]

    def end(self, trace_id: str) -> RequestEnd:
        """Return the one end frame of a trace."""
        (found,) = [end for end in self.ends() if end.trace_id == trace_id]
        return found


def ask(
    worker: WorkerProcess,
    model: str = "triage",
    *,
    headers: dict[str, str] | None = None,
    **body: Any,
) -> httpx.Response:
    """Send a chat completion and return the answer, whatever its status."""
    messages = body.pop("messages", [{"role": "user", "content": "hello"}])
    return HTTP.post(
        f"{worker.url}/v1/chat/completions",
        json={"messages": messages, "model": model, **body},
        headers=headers,
    )
