"""Keeps the processes of one machine running: starts, watches, restarts, stops.

Import from the modules: `parent` is light, as every child loads it.
"""

from __future__ import annotations
