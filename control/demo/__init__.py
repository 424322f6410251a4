"""The whole loop on one machine, with a stand-in for the expensive provider."""

from __future__ import annotations
