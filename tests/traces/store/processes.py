"""Real processes for the kill tests: ``python -c "from ... import NAME; NAME()" ARGUMENTS``."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import fastuuid

from tests.traces.frames import CONTEXT, chat, completion, end, start_payload
from traces.record import pack
from traces.spool import SpoolWriter
from traces.store import DatabaseError, Store
from traces.store.collector import Collector

ROOT = Path(__file__).parents[3]


def command(function: Callable[[], None], *arguments: object) -> list[str]:
    code = f"from {__name__} import {function.__name__}; {function.__name__}()"
    return [sys.executable, "-c", code, *map(str, arguments)]


def start(
    function: Callable[[], None], *arguments: object, pass_fds: tuple[int, ...] = ()
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command(function, *arguments), cwd=ROOT, pass_fds=pass_fds)


def write_frames() -> None:
    """FOLDER PIPE: append frames for ever, and acknowledge each end frame's id after that."""
    folder, pipe = Path(sys.argv[1]), int(sys.argv[2])
    writer = SpoolWriter(folder, segment_bytes=1 << 18)
    pause = threading.Event()
    request, response = chat("x" * 1000), completion("y" * 500)
    count = 0
    while True:
        trace_id = fastuuid.uuid7()
        if count % 10 == 0:
            pause.wait(0.01)
            writer.append(start_payload(str(trace_id), deadline_us=4 * 10**15))
        writer.append(pack(*end(request, response, trace_id=str(trace_id))))
        os.write(pipe, trace_id.bytes)
        count += 1


def collect() -> None:
    """DATABASE FOLDER [drain]: collect for ever, or until nothing is left."""
    collector = Collector(Store(Path(sys.argv[1])), Path(sys.argv[2]), CONTEXT)
    if "drain" in sys.argv:
        collector.drain()
        return
    pause = threading.Event()
    while True:
        collector.step()
        pause.wait(0.05)


def collect_on_a_full_disk() -> None:
    """DATABASE FOLDER: files may not grow; every commit that fails is counted on stdout."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    database, folder = Path(sys.argv[1]), Path(sys.argv[2])
    store = Store(database)
    store.checkpoint()
    collector = Collector(store, folder, CONTEXT)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    failures = 0
    for limit in range(100_000, 2_000_000, 100_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            collector.step()
        except DatabaseError as error:
            failures += 1
            print(error, file=sys.stderr)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    collector.drain()
    print(failures)
