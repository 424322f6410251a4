"""A child's tie to its supervisor: when the supervisor is gone, the child gets SIGTERM.

The child asks for it itself: code between fork and exec is not safe beside threads. Linux only; on
macOS a killed supervisor leaves its children running, and the next start names the port in use.
"""

from __future__ import annotations

import os
import signal
import sys

#: process id of the supervisor; taken out of the environment, grandchildren have another parent
PARENT = "LIMBECK_PARENT_PID"
_PR_SET_PDEATHSIG = 1


def follow_parent() -> None:
    """Get SIGTERM when the supervisor that started this process ends, however it ends."""
    parent = os.environ.pop(PARENT, "")
    if not parent or sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):
        # It ended before the call above, which then never fires.
        os.kill(os.getpid(), signal.SIGTERM)
