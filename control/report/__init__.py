"""The promotion report: what a person reads before students get traffic."""

from __future__ import annotations

from control.report.build import build
from control.report.model import Report

__all__ = ["Report", "build"]
