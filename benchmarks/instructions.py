"""Count the instructions that a gateway worker executes for one request, under valgrind.

    python benchmarks/instructions.py [--requests N]

CPU time differs by a third between two runs on a shared machine; this count hardly does, so it
tells a change of the code from a change of the machine. The kernel's share is not in it. A worker
answers first 300 requests, then 300 + N: the difference, over N, is free of start and stop.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from gateway_only import prepare

_COLLECTED = re.compile(r"Collected : (\d+)")
_FIRST = 300
_START_S = 120.0
_PROMPT = "You sort support tickets. " * 20
_ANSWER = json.dumps({
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini",
    "choices": [
        {"index": 0, "finish_reason": "stop",
         "message": {"role": "assistant", "content": "track_order " * 70}}
    ],
    "usage": {"prompt_tokens": 280, "completion_tokens": 140, "total_tokens": 420},
}).encode()  # fmt: skip
_BODY = json.dumps({
    "model": "gpt-4o-mini",
    "messages": [
        {"role": "system", "content": _PROMPT},
        {"role": "user", "content": "my parcel has not arrived, order 12345 " * 15},
    ],
}).encode()  # fmt: skip
_HEADERS = {"content-type": "application/json", "authorization": "Bearer sk-bench"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=2000)
    requests = parser.parse_args().requests
    upstream = _upstream()
    few, many = (_counted(n, upstream) for n in (_FIRST, _FIRST + requests))
    print(f"{(many - few) / requests:,.0f} instructions a request, over {requests:,} requests")


def _counted(requests: int, upstream: str) -> int:
    """Start a worker, let it answer, stop it; the instructions of its whole life."""
    with tempfile.TemporaryDirectory(prefix="limbeck-bench-") as folder:
        port = _free_port()
        worker = subprocess.Popen(
            [
                "valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/callgrind",
                # valgrind follows a program, not a script's first line
                sys.executable, *prepare(port, upstream, Path(folder) / "data"),
            ],
            stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONHASHSEED": "0"},
        )  # fmt: skip
        try:
            _ask(port, requests)
        finally:
            worker.terminate()
            _, said = worker.communicate(timeout=60)
    found = _COLLECTED.search(said)
    if found is None:
        raise SystemExit(f"valgrind counted nothing:\n{said}")
    return int(found.group(1))


def _ask(port: int, requests: int) -> None:
    connection = _connected(port)
    for _ in range(requests):
        connection.request("POST", "/v1/chat/completions", _BODY, _HEADERS)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"the worker answered {answer.status}: {body.decode()}")


def _connected(port: int) -> http.client.HTTPConnection:
    deadline = time.monotonic() + _START_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("GET", "/readyz")
            connection.getresponse().read()
            return connection
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _upstream() -> str:
    """A provider that says the same to everybody; its base URL."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    threading.Thread(target=lambda: asyncio.run(_serve(listener)), daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


async def _serve(listener: socket.socket) -> None:
    server = await asyncio.start_server(_answer, sock=listener)
    await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(_ANSWER)}"
    while asked := await _next_head(reader):
        length = re.search(rb"content-length: (\d+)", asked.lower())
        await reader.readexactly(int(length.group(1)) if length else 0)
        writer.write(head.encode() + b"\r\n\r\n" + _ANSWER)
    writer.close()


async def _next_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


if __name__ == "__main__":
    main()
