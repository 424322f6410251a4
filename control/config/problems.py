"""What is wrong with a configuration: one line a problem, all of them together."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import msgspec

from control.errors import ControlError


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to repair."""

    file: str
    #: dotted key, or "line 3, column 7"; empty for the file as a whole
    key: str = ""
    #: what is wrong and what to do; never the value of a secret
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.key, self.message) if part)


class ConfigErrors(ControlError):
    """The configuration can't be used. The text has one line a problem."""

    exit_code = 2

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean "..."?``, or nothing if no known word is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


def unknown(what: str, word: str, known: Iterable[str]) -> str:
    """Say that ``word`` is unknown, with the nearest known word, or else all of them."""
    words = sorted(known)
    near = nearest(word, words)
    if near:
        return f"unknown {what}{near}"
    return f"unknown {what}; known here: {', '.join(words) or 'none'}"
