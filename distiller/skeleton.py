"""The part of a prompt that never changes. A student is bound to it: another one is answered 412.

Two things are remembered: the hash of the system text, and the lines that (nearly) all training
prompts have, those of the system text too: a date in it must not free a student of all the rest.
Whatever differs between training prompts can't tell a live one from a stale one.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from distiller.chat import Message

#: what share of the training prompts must agree for a part to count as constant
CONSTANT_SHARE = 0.98
#: shorter lines ("Hi", "---") say nothing about a prompt
SHORTEST_LINE = 12
_SYSTEM_ROLES = frozenset({"system", "developer"})


class Skeleton(msgspec.Struct, frozen=True, kw_only=True):
    """What every live prompt must share with the training prompts."""

    #: sha256 of the system text (of the empty text where there is none); None: it varied
    system_sha256: str | None
    #: lines of all messages but the answers that every prompt has
    lines: tuple[str, ...]

    @property
    def binds(self) -> bool:
        """Whether another prompt could be stale at all."""
        return self.system_sha256 is not None or bool(self.lines)


def skeleton_of(prompts: Iterable[Sequence[Message]]) -> Skeleton:
    """Find the constant parts of ``prompts`` (messages without the answer)."""
    systems: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    for messages in prompts:
        systems[_system_sha256(messages)] += 1
        lines.update(_lines(messages))
    least = CONSTANT_SHARE * systems.total()
    digest, count = systems.most_common(1)[0] if systems else ("", 0)
    constant = sorted(line for line, n in lines.items() if n >= least)
    return Skeleton(
        system_sha256=digest if count and count >= least else None, lines=tuple(constant)
    )


def stale_reason(skeleton: Skeleton, messages: Sequence[Message]) -> str | None:
    """Say how a live prompt differs from the skeleton; None if it does not."""
    if skeleton.system_sha256 not in (None, _system_sha256(messages)):
        return "the system message differs from the one that the student was trained with"
    missing = sorted(set(skeleton.lines) - _lines(messages))
    if missing:
        shown = missing[0] if len(missing[0]) <= 80 else missing[0][:77] + "..."
        return f"{len(missing)} line(s) of the training prompts are missing, first: {shown!r}"
    return None


def constant_lines(texts: Iterable[Iterable[str]], *, share: float) -> list[str]:
    """Return the lines, ends included, that at least ``share`` of the prompts have.

    Each item of ``texts`` holds the texts of one prompt. Sorted by (-length, text), so that the
    order never depends on hashing.
    """
    counts: Counter[str] = Counter()
    prompts = 0
    for prompt in texts:
        prompts += 1
        counts.update({line for text in prompt for line in text.splitlines(keepends=True)})
    found = [
        line for line, n in counts.items() if n >= share * prompts and len(line) > SHORTEST_LINE
    ]
    return sorted(found, key=lambda line: (-len(line), line))


def _system_sha256(messages: Sequence[Message]) -> str:
    text = "\n".join(m.content for m in messages if m.role in _SYSTEM_ROLES)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _lines(messages: Sequence[Message]) -> set[str]:
    return {
        line
        for m in messages
        if m.role != "assistant"
        for line in m.content.splitlines()
        if len(line) > SHORTEST_LINE
    }
