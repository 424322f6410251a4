"""What happened: records, the spool, and the DuckDB store (import `traces.store` only in control)."""

from __future__ import annotations
