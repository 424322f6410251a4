"""A fake fine-tuning service of OpenAI's shape, in a thread: files, jobs, events, paged lists.

It writes model folders as the real trainer does, through ``make_model``. Faults are put into
``faults`` by the operation they hit (``"create"``, ``"upload"``, ``"retrieve"`` ...), first come
first served: a status, or ``"lose"`` (do it, then close the connection without an answer).
``refused`` names the base models whose jobs fail, with the message.
"""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

Act = Callable[[], tuple[int, Any]]

_PART = re.compile(rb'name="file"[^\r]*\r\n(?:[^\r]+\r\n)*\r\n(.*?)\r\n--', re.DOTALL)


@dataclass
class FakeTrainer:
    """State and switches of the fake."""

    url: str = ""
    offers: list[str] = field(default_factory=lambda: ["classifier", "embedded"])
    files: dict[str, bytes] = field(default_factory=dict)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    #: operation -> faults still to come
    faults: dict[str, list[int | str]] = field(default_factory=dict)
    #: base model -> message with which its jobs fail
    refused: dict[str, str] = field(default_factory=dict)
    #: requests so far: operation names
    log: list[str] = field(default_factory=list)
    #: the list endpoint ignores the metadata filter, as some services do
    ignores_filter: bool = False
    page: int = 2
    #: called with the job when it succeeds
    make_model: Callable[[dict[str, Any]], None] = lambda job: None

    def finish(self) -> None:
        """End all running jobs, as `refused` says."""
        for job in self.jobs:
            if job["status"] in ("queued", "running"):
                self._finish(job)

    def _finish(self, job: dict[str, Any]) -> None:
        message = self.refused.get(job["model"])
        if message is None:
            self.make_model(job)
            job["status"] = "succeeded"
            job["fine_tuned_model"] = f"ft:{job['model']}:local:{job['suffix']}:{job['id'][-4:]}"
        else:
            job["status"] = "failed"
            job["error"] = {"code": "invalid_training_data", "message": message, "param": None}

    def tell(self, job_id: str, *, step: int, total: int) -> None:
        """Add a progress event."""
        stream = self.events.setdefault(job_id, [])
        stream.append(
            {
                "id": f"ftevent-{len(stream)}",
                "object": "fine_tuning.job.event",
                "created_at": 1_700_000_000 + len(stream),
                "level": "info",
                "type": "metrics",
                "message": f"step {step} of {total}",
                "data": {"step": step, "total": total},
            }
        )


@contextmanager
def fake_trainer() -> Iterator[FakeTrainer]:
    """Serve a fake until the block ends."""
    fake = FakeTrainer()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake))
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(fake: FakeTrainer) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/files":
                self._answer("upload", lambda: _upload(fake, body))
            else:
                self._answer("create", lambda: _create(fake, json.loads(body)))

        def do_GET(self) -> None:
            operation, act = _reading(fake, self.path)
            self._answer(operation, act)

        def _answer(self, operation: str, act: Act) -> None:
            fake.log.append(operation)
            waiting = fake.faults.get(operation)
            fault = waiting.pop(0) if waiting else None
            if isinstance(fault, int):
                status, answer = fault, {"error": {"message": "asked for", "code": None}}
            else:
                status, answer = act()
            if fault == "lose":
                self.close_connection = True
                return
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def _reading(fake: FakeTrainer, path: str) -> tuple[str, Act]:
    url = urlsplit(path)
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    parts = url.path.removeprefix("/v1/").split("/")
    if parts == ["models"]:
        return "models", lambda: _list([{"id": model} for model in fake.offers], query)
    if len(parts) == 2:
        return "list", lambda: _list_jobs(fake, query)
    if parts[-1] == "events":
        return "events", lambda: _list(fake.events.get(parts[2], [])[::-1], query)
    return "retrieve", lambda: _find(fake, parts[2])


def _upload(fake: FakeTrainer, body: bytes) -> tuple[int, Any]:
    match = _PART.search(body)
    assert match is not None, body[:300]
    file_id = f"file-{len(fake.files)}"
    fake.files[file_id] = match[1]
    return 200, {
        "id": file_id,
        "object": "file",
        "bytes": len(match[1]),
        "created_at": 0,
        "filename": "rows.jsonl",
        "purpose": "fine-tune",
        "status": "processed",
    }


def _create(fake: FakeTrainer, body: dict[str, Any]) -> tuple[int, Any]:
    job = {
        "id": f"ftjob-{len(fake.jobs):04d}",
        "object": "fine_tuning.job",
        "created_at": len(fake.jobs),
        "organization_id": "fake",
        "result_files": [],
        "status": "queued",
        "fine_tuned_model": None,
        "error": None,
        "hyperparameters": {},
        **body,
    }
    fake.jobs.append(job)
    return 200, job


def _list_jobs(fake: FakeTrainer, query: dict[str, str]) -> tuple[int, Any]:
    key = query.get("metadata[job_key]")
    found = [
        job
        for job in reversed(fake.jobs)
        if fake.ignores_filter or key is None or job["metadata"].get("job_key") == key
    ]
    return _list(found, {**query, "limit": str(fake.page)})


def _find(fake: FakeTrainer, job_id: str) -> tuple[int, Any]:
    for job in fake.jobs:
        if job["id"] == job_id:
            return 200, job
    return 404, {"error": {"message": f"there is no job {job_id}", "code": None}}


def _list(items: list[dict[str, Any]], query: dict[str, str]) -> tuple[int, Any]:
    ids = [item["id"] for item in items]
    start = ids.index(query["after"]) + 1 if query.get("after") in ids else 0
    limit = int(query.get("limit", 100))
    more = len(items) > start + limit
    shown = [{"object": "model", "created": 0, "owned_by": "fake", **i} for i in items]
    return 200, {"object": "list", "data": shown[start : start + limit], "has_more": more}
