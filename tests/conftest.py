"""Property tests run the same examples everywhere."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("limbeck", derandomize=True, database=None, deadline=None)
settings.load_profile("limbeck")
