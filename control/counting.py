"""How a count of things is written: light, for processes that show it and do no more. Pure."""

from __future__ import annotations


def plural(n: int, word: str) -> str:
    """``n`` things of one kind; the word takes an s, unless there is one of them."""
    return f"{n:,} {word}" if n == 1 else f"{n:,} {word}s"
