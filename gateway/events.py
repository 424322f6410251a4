"""A stream's bytes cut into whole events, so that it breaks only between two. Pure."""

from __future__ import annotations

import re

#: the ends of an event: a line's end and an empty line
_ENDS = (b"\n\n", b"\n\r\n", b"\r\r")
_LONGEST_END = 3
_DONE = re.compile(rb"(?:^|[\r\n])data: ?\[DONE\](?:\n\n|\r\n\r\n|\r\r)\Z")
_DONE_LENGTH = 24
_DATA = re.compile(rb"(?:^|[\r\n])data")
_BEGUN_DONE = re.compile(rb"data: ?\[DONE\][\r\n]*")


class WholeEvents:
    """Holds what has arrived of an event until its end is there."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = bytearray()

    def take(self, chunk: bytes) -> bytes:
        """Return the events that are whole now; empty if none is."""
        held = self._held
        if not held and chunk.endswith(_ENDS):
            return chunk
        seam = max(len(held) - _LONGEST_END + 1, 0)
        held += chunk
        end = max(_end_of_last(held, mark, seam) for mark in _ENDS)
        whole = bytes(held[:end])
        del held[:end]
        return whole

    @property
    def rest(self) -> bytes:
        """What has arrived of an event whose end is missing."""
        return bytes(self._held)

    @property
    def rest_is_done(self) -> bool:
        """Whether only the empty line after ``[DONE]`` is missing."""
        return _BEGUN_DONE.fullmatch(self._held) is not None


def holds_data(whole: bytes) -> bool:
    """Tell whether whole events say anything: comments and retry times are for the line alone."""
    return _DATA.search(whole) is not None


def is_done(whole: bytes) -> bool:
    """Tell whether whole events end with ``data: [DONE]``."""
    tail = whole[-_DONE_LENGTH:]
    return b"[DONE]" in tail and _DONE.search(tail) is not None


def _end_of_last(held: bytearray, mark: bytes, seam: int) -> int:
    at = held.rfind(mark, seam)
    return 0 if at < 0 else at + len(mark)
