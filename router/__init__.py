"""Who answers: pure decisions over values. No I/O, no clock, no randomness, no logging."""

from __future__ import annotations
