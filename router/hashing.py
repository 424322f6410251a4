"""The one hash behind every draw: stateless, equal on all workers, uniform in [0, 1)."""

from __future__ import annotations

from hashlib import blake2b

_SEPARATOR = "\x1f"
_SPAN = 2.0**64


def unit_interval(salt: str, *parts: str) -> float:
    """Map ``salt`` and ``parts`` to a number in [0, 1) that never changes."""
    text = _SEPARATOR.join((salt, *parts)).encode()
    # 64 bits may round up to 2^64 as a float; the largest double below 1 keeps the interval open.
    return min(int.from_bytes(blake2b(text, digest_size=8).digest()) / _SPAN, 1.0 - 2.0**-53)
