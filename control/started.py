"""When this process was started, interpreter included."""

from __future__ import annotations

import os
import time
from pathlib import Path

_LOADED = time.monotonic()


def process_started() -> float:
    """On `time.monotonic`'s clock. Where the system doesn't say (macOS): when this was imported."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, IndexError, ValueError):
        return _LOADED
    return min(time.monotonic() - age_s, _LOADED)
