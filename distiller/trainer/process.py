"""What makes a training worker a good child: one holder a job, limits, a clean stop, no orphans."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

from distiller.trainer.job_folder import LOCK_FILE
from distiller.trainer.refusal import Refused

#: environment of a worker, set before numpy or torch load: a second thread gains nothing at these
#: sizes, and waiting threads spin, which costs 7-25 times the time on a busy machine
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYTHONHASHSEED": "0",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
_PR_SET_PDEATHSIG = 1


class Stopped(BaseException):
    """SIGTERM or SIGINT arrived. Not an `Exception`: no handler of a library may swallow it."""


class StopSignal:
    """Turns SIGTERM and SIGINT into `Stopped`, at once or, inside `deferred`, at its end."""

    def __init__(self) -> None:
        self.requested = False
        self._deferred = False

    def install(self) -> None:
        signal.signal(signal.SIGTERM, self._arrived)
        signal.signal(signal.SIGINT, self._arrived)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let the body reach a good place first; it watches `requested` by itself."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.requested:
            raise Stopped

    def _arrived(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        if not self._deferred:
            raise Stopped


def hold(job: Path) -> IO[bytes] | None:
    """Lock a job's folder for this process; None if another one holds it.

    The kernel frees the lock when the process ends, however it ends. Keep the file referenced.
    """
    file = (job / LOCK_FILE).open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def is_held(job: Path) -> bool:
    """Say whether a process, perhaps an older service's, works on the job."""
    file = hold(job)
    if file is None:
        return True
    file.close()
    return False


def die_with(parent: int) -> None:
    """Get SIGTERM when the process ``parent`` ends (Linux; elsewhere nothing).

    Raises `Stopped` if it is gone already.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise Stopped


def limit(*, seconds: float, memory_mb: int | None) -> None:
    """Bound the time and the memory of this process.

    Time: `Refused` is raised in the main thread. Memory: allocations fail (`is_out_of_memory`).
    """

    def too_late(_number: int, _frame: FrameType | None) -> None:
        raise Refused(
            f"the job did not finish within {seconds:.0f} s. Train on fewer rows, or allow more "
            "with the hyperparameter max_seconds",
            code="time_limit",
        )

    signal.signal(signal.SIGALRM, too_late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    # A CUDA driver reserves far more address space than it uses: no limit beside a GPU.
    if memory_mb is not None and not Path("/dev/nvidiactl").exists():
        size = memory_mb << 20
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether ``error`` means that memory ran out: torch raises a plain RuntimeError."""
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "defaultcpuallocator" in text or "bad_alloc" in text
    )
