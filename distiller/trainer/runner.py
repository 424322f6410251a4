"""Runs jobs one after the other, each in a child process that dies with the service.

A worker that vanishes without a word is started again and resumes from its last checkpoint; after
`MOST_CRASHES` the job has failed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from distiller.trainer.events import EventLog, is_terminal_log, read_events
from distiller.trainer.job_folder import LOG_FILE, ask_to_cancel, is_cancelling, read_job
from distiller.trainer.jobs import JobStore
from distiller.trainer.process import ENVIRONMENT, is_held
from distiller.trainer.worker import PARENT, ExitCode

_log = logging.getLogger(__name__)

MOST_CRASHES = 3
#: how often to look whether a worker of an earlier service has let go of its job
_HELD_PAUSE_S = 0.1
_RETRY_S = 5.0
#: how long a worker may take to reach a checkpoint when the service stops
_STOP_S = 10.0


def default_command() -> tuple[str, ...]:
    """Return the command that starts a worker: the console script beside this interpreter."""
    return (str(Path(sys.executable).parent / "limbeck"), "training-worker")


class Runner:
    """Owns the one worker that may run. Its queue is the job folders."""

    def __init__(
        self, jobs: JobStore, *, command: Sequence[str], secret: str, kill_after_s: float
    ) -> None:
        self._jobs = jobs
        self._command = command
        #: environment variable that workers must not see
        self._secret = secret
        #: beyond the job's own limit, seconds
        self._kill_after_s = kill_after_s
        self._wake = asyncio.Event()
        self._current: tuple[Path, asyncio.subprocess.Process] | None = None

    async def run(self) -> None:
        """Work until cancelled; then stop the worker, which leaves a checkpoint."""
        try:
            while True:
                self._wake.clear()
                try:
                    folder = self._jobs.next_unfinished()
                    if folder is None:
                        await self._wake.wait()
                    else:
                        await self._attempt(folder)
                except OSError:  # a full disk, say: the queue must outlive it
                    _log.exception("the queue of training jobs can't go on; it tries again")
                    await asyncio.sleep(_RETRY_S)
        finally:
            await self._stop()

    def wake(self) -> None:
        """Look for work: a job was created."""
        self._wake.set()

    def cancel(self, folder: Path) -> None:
        """End a job. The mark is on disk before the worker hears of it."""
        if is_terminal_log(folder):
            return
        ask_to_cancel(folder)
        if self._current is not None and self._current[0] == folder:
            with suppress(ProcessLookupError):
                self._current[1].terminate()
        elif not is_held(folder):
            EventLog(folder).add("cancelled", "The job was cancelled before it ran")

    async def _attempt(self, folder: Path) -> None:
        """Run one worker to its end, and write down an end that it could not write itself."""
        while is_held(folder):
            await asyncio.sleep(_HELD_PAUSE_S)
        if is_terminal_log(folder):
            return
        try:
            code = await self._run_worker(folder)
        except OSError as error:
            EventLog(folder).add(
                "failed",
                f"the training worker can't be started: {' '.join(self._command)}: {error}",
                code="worker_not_started",
            )
            return
        if is_terminal_log(folder) or code == ExitCode.HELD:
            return
        if is_cancelling(folder):
            EventLog(folder).add("cancelled", "The job was cancelled")
        elif code != ExitCode.INTERRUPTED:
            _note_crash(folder, code)

    async def _run_worker(self, folder: Path) -> int:
        environment = {k: v for k, v in os.environ.items() if k != self._secret}
        environment |= {**ENVIRONMENT, PARENT: str(os.getpid())}
        limit_s = read_job(folder).limit_s
        with (folder / LOG_FILE).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                str(folder),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )
        self._current = (folder, process)
        if is_cancelling(folder):  # cancelled while it was being started
            process.terminate()
        try:
            return await asyncio.wait_for(process.wait(), limit_s + self._kill_after_s)
        except TimeoutError:
            # It hangs where no signal handler runs; nothing else would ever end it.
            process.kill()
            code = await process.wait()
            if not is_terminal_log(folder):
                message = f"the training worker did not end within {limit_s:g} s and was killed"
                EventLog(folder).add("failed", message, code="time_limit")
            return code
        finally:
            if process.returncode is not None:
                self._current = None

    async def _stop(self) -> None:
        if self._current is None:
            return
        _, process = self._current
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()


def _note_crash(folder: Path, code: int) -> None:
    """Write down that the worker died; give the job up after `MOST_CRASHES` deaths."""
    why = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    events = EventLog(folder)
    crashes = 1 + sum(1 for event in read_events(folder) if event.type == "crashed")
    if crashes < MOST_CRASHES:
        events.add("crashed", f"The training worker {why}; it is started again")
        return
    hint = " (out of memory?)" if code == -signal.SIGKILL else ""
    events.add(
        "failed",
        f"the training worker {why}{hint}, {crashes} times. Its output is in {folder / LOG_FILE}",
        code="worker_crashed",
    )
