"""Children that run the user's code: how they are started, and how they keep their pipes clean."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import BinaryIO, NamedTuple

#: environment variable with the key between limbeck's own processes
INTERNAL_KEY_ENV = "LIMBECK_INTERNAL_KEY"
_PR_SET_PDEATHSIG = 1


class Pipes(NamedTuple):
    """The protocol's two ends inside a child."""

    requests: BinaryIO
    replies: BinaryIO


def console_script() -> str:
    """Return the path of `limbeck`: ``python -m`` would look in the current folder first."""
    return str(Path(sys.executable).with_name("limbeck"))


def environment_of_child() -> dict[str, str]:
    """Return our environment without the internal key: the user's code has no use for it."""
    return {name: value for name, value in os.environ.items() if name != INTERNAL_KEY_ENV}


def claim_pipes() -> Pipes:
    """Take standard input and output for the protocol.

    What the user's code prints goes to standard error instead, whether Python or C prints it, and
    what it reads is empty.
    """
    sys.stdout.flush()
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return Pipes(requests, replies)


def die_with_parent() -> None:
    """Let the kernel end this process when its parent ends. Linux only.

    Elsewhere a child notices at the end of its input, so a hanging one may stay.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def limit_memory(megabytes: int) -> None:
    """Limit the private memory of this process. Linux only: elsewhere there is no limit."""
    if sys.platform == "linux":
        import resource

        limit = megabytes << 20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def kill_group(pid: int) -> None:
    """Kill a child that was started in a session of its own, with all that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
