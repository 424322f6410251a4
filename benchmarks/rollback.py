"""Time `limbeck rollback` with control alive, frozen and killed.

Starts limbeck with one plain route in a temporary folder; each figure is what the command itself
reports: from the start of its process to the last worker's acknowledgement, milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIMBECK = Path(sys.executable).parent / "limbeck"
_TOML = """
[gateway]
bind = "127.0.0.1:18090"
workers = 2
[control]
admin_bind = "127.0.0.1:18091"
data = "data"
[upstreams.nowhere]
base_url = "http://127.0.0.1:18092/v1"
[routes.bench]
teacher = "nowhere/model"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    times = parser.parse_args().times
    print("| control | rollbacks | median ms | highest ms |\n|---|---|---|---|")
    for name, number in (("alive", None), ("frozen", signal.SIGSTOP), ("killed", signal.SIGKILL)):
        with tempfile.TemporaryDirectory(prefix="limbeck-bench-") as folder:
            figures = list(_rollbacks(Path(folder), number, times))
        print(
            f"| {name} | {len(figures)} | {statistics.median(figures):.0f} | {max(figures):.0f} |",
            flush=True,
        )


def _rollbacks(folder: Path, number: signal.Signals | None, times: int) -> Iterator[float]:
    (folder / "limbeck.toml").write_text(_TOML)
    with _running(folder):
        for _ in range(times):
            if number is not None:
                _signal_control(folder, number)
            done = subprocess.run(
                [str(LIMBECK), "rollback", "bench", "--json"],
                cwd=folder, capture_output=True, text=True, check=True,
            )  # fmt: skip
            said = json.loads(done.stdout)
            assert sorted(said["workers"]) == ["w1", "w2"] and not said["missing"], said
            yield 1000 * said["seconds"]
            # Lift the override, so that the next command has something to do.
            if number is signal.SIGSTOP:
                _signal_control(folder, signal.SIGCONT)
            _wait(lambda: not list((folder / "data" / "overrides").glob("*.json")))


@contextmanager
def _running(folder: Path) -> Iterator[None]:
    process = subprocess.Popen(
        [str(LIMBECK), "up"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait(lambda: _ready("http://127.0.0.1:18090/readyz"))
        _wait(lambda: _ready("http://127.0.0.1:18091/healthz"))
        yield
    finally:
        process.terminate()
        process.wait(60)


def _signal_control(folder: Path, number: signal.Signals) -> None:
    def pid() -> int | None:
        states = json.loads((folder / "data" / "processes.json").read_text())
        return next((s["pid"] for s in states if s["name"] == "control" and s["pid"]), None)

    os.kill(_wait(pid), number)


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _wait(look, seconds: float = 60.0):  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(0.02)
    return found


if __name__ == "__main__":
    main()
