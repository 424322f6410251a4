"""What happened: records, the spool, and the DuckDB store (`traces.store`: only in control)."""

from __future__ import annotations
