"""The user's code in processes of its own: program host, metric runner, row builder."""

from __future__ import annotations
