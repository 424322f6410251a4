"""A stand-in for control's admin API: canned answers by method and path, on a real socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec

from control.addresses import Addresses
from control.config.values import Address
from control.files import write_atomically
from control.layout import Layout
from control.secrets import ensure_secrets


class Answer(NamedTuple):
    """What to send."""

    body: object
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


class Asked(NamedTuple):
    """What came."""

    method: str
    path: str
    query: dict[str, list[str]]
    body: object
    authorization: str


class FakeAdmin:
    """``answers``: "METHOD /path" -> answer, or one for each time, without end; else 404."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | Iterator[Answer]] = {}
        self.asked: list[Asked] = []


def lead_to(layout: Layout, port: int) -> None:
    """Write the data folder's files that lead a client to a port of this machine."""
    here = Address(host="127.0.0.1", port=port)
    ensure_secrets(layout.secrets)
    addresses = Addresses(gateway=here, admin=here, student_server=here, trainer=here)
    write_atomically(layout.addresses, msgspec.json.encode(addresses))


@contextmanager
def fake_admin(layout: Layout) -> Iterator[FakeAdmin]:
    """Serve on a free port, and write the data folder's files that lead a client there."""
    fake = FakeAdmin()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            url = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            fake.asked.append(
                Asked(
                    self.command,
                    url.path,
                    parse_qs(url.query),
                    json.loads(raw) if raw else None,
                    self.headers.get("authorization", ""),
                )
            )
            path = url.path.removeprefix("/admin/v1")
            missing = Answer({"error": {"message": f"{path} is unknown"}}, status=404)
            found = fake.answers.get(f"{self.command} {path}", missing)
            answer = found if isinstance(found, Answer) else next(found)
            body = (
                answer.body if isinstance(answer.body, bytes) else msgspec.json.encode(answer.body)
            )
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    lead_to(layout, server.server_port)
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
