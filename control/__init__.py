"""The control plane: CLI, configuration, supervisor, collector, shadow evaluation, rollouts, reports."""

from __future__ import annotations
