from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest

from control.supervisor.child import ChildSpec, Event, Happening, RestartPolicy, tail
from control.supervisor.health import answers_ok
from control.supervisor.parent import PARENT
from control.supervisor.supervisor import ProcessState, Supervisor
from tests.polling import until, until_async

ROOT = Path(__file__).resolve().parents[2]
FAST = RestartPolicy(first_s=0.01, longest_s=0.04, healthy_s=60, alarm_after=3)
SERVES = "import time; print('hello', flush=True)\nwhile True: time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('x', flush=True)\n"
    "while True: time.sleep(60)"
)
LEAVES_A_MARK = (
    "import pathlib, signal, sys, time\n"
    "def stop(*_):\n"
    "    open(sys.argv[1], 'a').write(sys.argv[2] + ' ')\n"
    "    raise SystemExit(0)\n"
    "signal.signal(signal.SIGTERM, stop); print('x', flush=True)\n"
    "while True: time.sleep(60)"
)


def python(name: str, code: str, *words: str, **options: object) -> ChildSpec:
    return msgspec.convert(
        {"name": name, "command": (sys.executable, "-c", code, *words), **options}, ChildSpec
    )


class Watched:
    """A supervisor with its events."""

    def __init__(self, folder: Path, *specs: ChildSpec, restart: RestartPolicy = FAST) -> None:
        self.events: list[Event] = []
        self.logs = folder / "logs"
        self.state = folder / "processes.json"
        self.supervisor = Supervisor(
            specs, logs=self.logs, state=self.state, report=self.events.append, restart=restart
        )

    def happened(self, child: str, what: Happening) -> list[str]:
        return [e.text for e in self.events if (e.child, e.happening) == (child, what)]

    def pid(self, child: str) -> int | None:
        return next(p.pid for p in self.supervisor.processes if p.name == child)

    async def running(self, *children: str) -> None:
        """Wait until each child has written its first line: its signal handlers are in place."""
        for child in children:
            await until_async(partial(_has_text, self.logs / f"{child}.log"), what=child)


def _has_text(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_output_goes_to_the_childs_log_and_the_state_names_it(tmp_path: Path) -> None:
    watched = Watched(tmp_path, python("a", SERVES))
    await watched.supervisor.start()
    await watched.running("a")
    assert (tmp_path / "logs" / "a.log").read_text() == "hello\n"
    written = msgspec.json.decode(watched.state.read_bytes(), type=list[ProcessState])
    assert written == [ProcessState(name="a", pid=watched.pid("a"), restarts=0)]
    await watched.supervisor.stop()
    assert not watched.state.exists()


async def test_a_killed_child_comes_back(tmp_path: Path) -> None:
    watched = Watched(tmp_path, python("a", SERVES), python("b", SERVES))
    await watched.supervisor.start()
    await watched.running("a", "b")
    before, other = watched.pid("a"), watched.pid("b")
    assert before is not None
    os.kill(before, signal.SIGKILL)
    await until_async(lambda: watched.pid("a") not in (None, before), what="a restart")
    assert watched.pid("b") == other
    (text,) = watched.happened("a", Happening.ENDED)
    assert text.startswith("ended by SIGKILL; starts again in 0.01 s (log: ")
    await watched.supervisor.stop()


async def test_pauses_grow_and_the_log_is_shown(tmp_path: Path) -> None:
    watched = Watched(tmp_path, python("a", "print('port 8000 is in use'); raise SystemExit(7)"))
    await watched.supervisor.start()
    await until_async(lambda: len(watched.happened("a", Happening.ENDED)) >= 4, what="4 failures")
    await watched.supervisor.stop()
    pauses = [
        text.split(" again in ")[1].split()[0]
        for text in watched.happened("a", Happening.ENDED)[:4]
    ]
    assert pauses == ["0.01", "0.02", "0.04", "0.04"]
    first, *later = watched.happened("a", Happening.ENDED)
    assert first.endswith("a.log); its last line:\n    port 8000 is in use")
    assert not any("last line" in text for text in later)
    (report,) = watched.happened("a", Happening.FAILING)
    assert report.startswith("failed 3 times in a row; the end of ")
    assert "    port 8000 is in use" in report


async def test_the_last_line_is_one_of_this_run(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "a.log"
    log.parent.mkdir()
    log.write_text("of yesterday\n")
    watched = Watched(tmp_path, python("a", "raise SystemExit(7)"))
    await watched.supervisor.start()
    await until_async(lambda: watched.happened("a", Happening.ENDED), what="a failure")
    await watched.supervisor.stop()
    assert watched.happened("a", Happening.ENDED)[0].endswith("its last line:\n    (empty)")


async def test_a_healthy_run_resets_the_pause(tmp_path: Path) -> None:
    healthy_at_once = RestartPolicy(first_s=0.01, healthy_s=0)
    watched = Watched(tmp_path, python("a", "pass"), restart=healthy_at_once)
    await watched.supervisor.start()
    await until_async(lambda: len(watched.happened("a", Happening.ENDED)) >= 3, what="3 ends")
    await watched.supervisor.stop()
    assert all("again in 0.01 s" in text for text in watched.happened("a", Happening.ENDED))


async def test_a_command_that_does_not_exist(tmp_path: Path) -> None:
    watched = Watched(tmp_path, ChildSpec(name="a", command=("/no/such/command",)))
    await watched.supervisor.start()
    await until_async(lambda: watched.happened("a", Happening.FAILING), what="the report")
    await watched.supervisor.stop()
    assert "can't be started" in watched.happened("a", Happening.ENDED)[0]


async def test_stops_in_order(tmp_path: Path) -> None:
    order = tmp_path / "order"
    watched = Watched(
        tmp_path,
        python("control", LEAVES_A_MARK, str(order), "control", stop_rank=2),
        python("gateway", LEAVES_A_MARK, str(order), "gateway", stop_rank=0),
        python("host", LEAVES_A_MARK, str(order), "host", stop_rank=1),
    )
    await watched.supervisor.start()
    await watched.running("control", "gateway", "host")
    await watched.supervisor.stop()
    assert order.read_text().split() == ["gateway", "host", "control"]
    assert watched.happened("control", Happening.STOPPED) == ["stopped (exit code 0)"]


async def test_a_stubborn_child_is_killed_within_the_bound(tmp_path: Path) -> None:
    watched = Watched(tmp_path, python("a", STUBBORN, stop_s=0.2))
    await watched.supervisor.start()
    await watched.running("a")
    pid = watched.pid("a")
    assert pid is not None
    await watched.supervisor.stop()
    assert not alive(pid)
    assert watched.happened("a", Happening.KILLED) == ["did not stop within 0.2 s, killed"]


async def test_stop_right_after_start(tmp_path: Path) -> None:
    watched = Watched(tmp_path, python("a", SERVES), python("b", SERVES))
    await watched.supervisor.start()
    await watched.supervisor.stop()
    assert [process.pid for process in watched.supervisor.processes] == [None, None]


async def test_kill_ends_everything_at_once(tmp_path: Path) -> None:
    watched = Watched(tmp_path, python("a", STUBBORN), python("b", STUBBORN))
    await watched.supervisor.start()
    await watched.running("a", "b")
    await watched.supervisor.kill()
    assert [process.pid for process in watched.supervisor.processes] == [None, None]


async def test_ready_asks_the_health_url(tmp_path: Path) -> None:
    server = (
        "import http.server, sys\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200 if self.path == '/healthz' else 503)\n"
        "        self.end_headers()\n"
        "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), H).serve_forever()\n"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    url = f"http://127.0.0.1:{port}"
    watched = Watched(
        tmp_path,
        python("good", server, port, health_url=f"{url}/healthz"),
        python("bad", SERVES, health_url=f"{url}/readyz"),
        python("silent", SERVES),
    )
    await watched.supervisor.start()
    await until_async(lambda: _accepts(int(port)), what="the server")
    assert await watched.supervisor.ready(0.5) == ("bad",)
    assert await answers_ok(f"{url}/healthz")
    await watched.supervisor.stop()
    assert not await answers_ok(f"{url}/healthz")


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


async def test_a_long_log_is_moved_aside(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "a.log"
    log.parent.mkdir()
    with log.open("wb") as file:
        file.truncate(17 << 20)
    watched = Watched(tmp_path, python("a", SERVES))
    await watched.supervisor.start()
    await until_async(lambda: log.exists() and log.read_text() == "hello\n", what="a new log")
    await watched.supervisor.stop()
    assert (tmp_path / "logs" / "a.log.1").stat().st_size == 17 << 20


def test_pauses_never_overflow() -> None:
    assert RestartPolicy().pause_s(10_000) == 30.0


def test_the_tail_of_a_missing_log(tmp_path: Path) -> None:
    assert "No such file" in tail(tmp_path / "none.log")
    (tmp_path / "empty.log").touch()
    assert tail(tmp_path / "empty.log") == "    (empty)"


FOLLOWER = (
    "from control.supervisor.parent import follow_parent; follow_parent()\n"
    "import os; assert 'LIMBECK_PARENT_PID' not in os.environ\n"
    "print(os.getpid(), flush=True)\n"
    "import time\nwhile True: time.sleep(60)"
)
PARENT_OF_ONE = (
    "import os, subprocess, sys\n"
    f"subprocess.Popen([sys.executable, '-c', sys.argv[1]],"
    f" env={{**os.environ, '{PARENT}': str(os.getpid())}}).wait()"
)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_child_ends_with_its_killed_supervisor(gone: Callable[[int], bool]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT_OF_ONE, FOLLOWER],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        until(lambda: gone(child), what="the end of the child")


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
async def test_a_child_whose_supervisor_is_gone_already_ends() -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        FOLLOWER,
        env={**os.environ, "PYTHONPATH": str(ROOT), PARENT: "1"},
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await child.wait() == -signal.SIGTERM


@pytest.fixture
def gone() -> Callable[[int], bool]:
    """Whether a process that is not our child has ended: gone, or a zombie that nobody reaped."""

    def ended(pid: int) -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        return state == "Z"

    return ended
