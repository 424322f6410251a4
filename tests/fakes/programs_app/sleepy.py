"""A module that never finishes importing."""

from __future__ import annotations

import time

time.sleep(600)
