"""The control plane: CLI, configuration, supervisor, collector, shadow, rollouts, reports."""

from __future__ import annotations
