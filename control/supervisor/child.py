"""One child process: started, watched, restarted with growing pauses, stopped within a bound."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path

import msgspec

from control.supervisor.parent import PARENT

_LOG_BYTES = 16 << 20
_TAIL_BYTES = 4096
_TAIL_LINES = 8


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to run."""

    #: also the name of its log
    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = {}
    #: stopped in this order, equal ranks together
    stop_rank: int = 0
    #: from SIGTERM to SIGKILL, seconds
    stop_s: float = 10.0
    #: answers 200 when the child can work; None: nothing to ask
    health_url: str | None = None


class RestartPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Pauses before a restart: first_s, doubled with each failure, up to longest_s."""

    first_s: float = 0.2
    longest_s: float = 30.0
    #: a child that ran this long starts again with the first pause
    healthy_s: float = 60.0
    #: after this many failures in a row the end of the log is shown
    alarm_after: int = 5

    def pause_s(self, failures: int) -> float:
        """The pause after that many failures in a row."""
        # The exponent is bounded, as a float overflows after a thousand doublings.
        return min(self.first_s * 2.0 ** min(failures - 1, 60), self.longest_s)


class Happening(Enum):
    """What a supervisor reports."""

    STARTED = "started"
    ENDED = "ended"
    #: it keeps failing; the text has the end of its log
    FAILING = "failing"
    STOPPED = "stopped"
    #: it did not stop in time
    KILLED = "killed"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line for the terminal."""

    child: str
    happening: Happening
    text: str


Report = Callable[[Event], None]


class Child:
    """Runs one spec for as long as `run` runs."""

    def __init__(
        self,
        spec: ChildSpec,
        *,
        logs: Path,
        policy: RestartPolicy,
        report: Report,
        changed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec = spec
        self.restarts = 0
        self._log = logs / f"{spec.name}.log"
        self._policy = policy
        self._report = report
        self._changed = changed
        self._clock = clock
        self._process: asyncio.subprocess.Process | None = None
        #: where the log of the last run begins in its file
        self._log_from = 0
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def run(self) -> None:
        """Keep the child running until `stop`."""
        failures = 0
        while not self._stopping.is_set():
            started = self._clock()
            ended = await self._run_once()
            if self._stopping.is_set():
                return
            lived_s = self._clock() - started
            failures = 1 if lived_s >= self._policy.healthy_s else failures + 1
            await self._pause(ended, failures)
            self.restarts += 1

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL if that takes longer than the spec allows."""
        self._stopping.set()
        if self._process is not None and self._process.returncode is None:
            await self._end(self._process)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), self.spec.stop_s)
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await process.wait()
            self._say(Happening.KILLED, f"did not stop within {self.spec.stop_s:g} s, killed")
        else:
            self._say(Happening.STOPPED, f"stopped ({_ended(process.returncode)})")

    def kill(self) -> None:
        """SIGKILL at once."""
        self._stopping.set()
        self._signal(signal.SIGKILL)

    async def _run_once(self) -> str:
        try:
            process = await self._start()
        except OSError as error:
            self._process = None
            return f"can't be started: {error}"
        self._process = process
        self._changed()
        self._say(Happening.STARTED, f"started (process {process.pid})")
        if self._stopping.is_set():
            # `stop` came while the process was being made, and had nothing to stop.
            await self._end(process)
        code = await process.wait()
        self._changed()
        return _ended(code)

    async def _start(self) -> asyncio.subprocess.Process:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if self._log.stat().st_size > _LOG_BYTES:
                os.replace(self._log, self._log.with_suffix(".log.1"))
        with self._log.open("ab") as log:
            self._log_from = log.tell()
            return await asyncio.create_subprocess_exec(
                *self.spec.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(self.spec.environment),
                # Ctrl-C in the terminal reaches the supervisor alone, which stops in order.
                start_new_session=True,
            )

    async def _pause(self, ended: str, failures: int) -> None:
        pause_s = self._policy.pause_s(failures)
        again = f"{ended}; starts again in {pause_s:g} s (log: {self._log})"
        if failures == 1 and self._process is not None and (self._process.returncode or 0) > 0:
            # A process of ours that gives up says why last; a signal leaves no such line.
            again += f"; its last line:\n{tail(self._log, lines=1, start=self._log_from)}"
        self._say(Happening.ENDED, again)
        if failures == self._policy.alarm_after:
            self._say(
                Happening.FAILING,
                f"failed {failures} times in a row; the end of {self._log}:\n{tail(self._log)}",
            )
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), pause_s)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _say(self, happening: Happening, text: str) -> None:
        self._report(Event(child=self.spec.name, happening=happening, text=text))


def tail(log: Path, *, lines: int = _TAIL_LINES, start: int = 0) -> str:
    """The last lines of a log that come after its byte ``start``, indented."""
    try:
        with log.open("rb") as file:
            file.seek(max(start, log.stat().st_size - _TAIL_BYTES))
            found = file.read().decode(errors="replace").splitlines()
    except OSError as error:
        return f"    (can't be read: {error.strerror})"
    return "\n".join(f"    {line}" for line in found[-lines:]) or "    (empty)"


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, **extra, PARENT: str(os.getpid()), "PYTHONUNBUFFERED": "1"}


def _ended(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"
