"""A module with an error at import time."""

from __future__ import annotations

raise RuntimeError("this module cannot be imported")
