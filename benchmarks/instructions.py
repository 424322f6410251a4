"""Count the instructions that a gateway worker executes for one request, under valgrind.

    python benchmarks/instructions.py [--requests N] [--runs N]

On a shared machine CPU time may double from one run to the next; this count does not, so it tells a
change of the code from a change of the machine. The kernel's share is not in it; what a worker does
by the clock (it looks at the snapshot ten times a second) is, and counts for more under a slower
valgrind. A worker answers 300 requests, another 300 + N: the difference, over N, is free of start
and stop.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from exchange import REQUEST, RESPONSE
from gateway_only import prepare

_COLLECTED = re.compile(r"Collected : (\d+)")
_FIRST = 300
_START_S = 120.0
_STOP_S = 60.0
#: head and body in one write, as a client's library with a buffer sends them
_ASK = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer sk-bench\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(REQUEST)
) + REQUEST
_TELL = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    % len(RESPONSE)
) + RESPONSE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    upstream = _upstream()
    print("| run | instructions a request |\n|---|---|")
    for run in range(args.runs):
        few, many = (_counted(n, upstream) for n in (_FIRST, _FIRST + args.requests))
        print(f"| {run + 1} | {(many - few) / args.requests:,.0f} |", flush=True)


def _counted(requests: int, upstream: str) -> int:
    """Start a worker, let it answer, stop it; the instructions of its whole life."""
    with tempfile.TemporaryDirectory(prefix="limbeck-bench-") as folder:
        port, log = _free_port(), Path(folder) / "log"
        with log.open("wb") as output:
            worker = subprocess.Popen(
                [
                    "valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/callgrind",
                    # valgrind follows a program, not a script's first line
                    sys.executable, *prepare(port, upstream, Path(folder) / "data"),
                ],
                stdout=output, stderr=output, env={**os.environ, "PYTHONHASHSEED": "0"},
            )  # fmt: skip
        try:
            _ask(port, requests, worker)
            worker.terminate()
            worker.wait(_STOP_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SystemExit(f"no figure: {error}\n{log.read_text()}") from error
        finally:
            worker.kill()
            worker.wait()
        found = _COLLECTED.search(log.read_text())
        if found is None:
            raise SystemExit(f"valgrind counted nothing:\n{log.read_text()}")
        return int(found.group(1))


def _ask(port: int, requests: int, worker: subprocess.Popen[bytes]) -> None:
    with _connected(port, worker) as connection:
        for _ in range(requests):
            connection.sendall(_ASK)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            body = answer.read()
            if answer.status != 200:
                raise SystemExit(f"the worker answered {answer.status}: {body.decode()}")


def _connected(port: int, worker: subprocess.Popen[bytes]) -> socket.socket:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=60)
        except ConnectionRefusedError:
            if worker.poll() is not None or time.monotonic() > deadline:
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
    while asked := await _next_head(reader):
        length = re.search(rb"content-length: (\d+)", asked.lower())
        await reader.readexactly(int(length.group(1)) if length else 0)
        writer.write(_TELL)
    writer.close()


async def _next_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


if __name__ == "__main__":
    main()
