"""From the trace log to a frozen dataset: label, filter, deduplicate, decontaminate, freeze."""

from __future__ import annotations
