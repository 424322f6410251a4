"""The data plane: HTTP in, upstream out, a trace into the spool."""

from __future__ import annotations
