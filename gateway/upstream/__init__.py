"""The HTTP client of the hot path: one request at a time on kept-alive connections."""

from __future__ import annotations
