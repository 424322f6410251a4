"""The bytes of a segment: ``u32 length | u32 crc32 | payload``, little endian.

A length of 0 is the end: the rest of a segment is pre-allocated zeros. A frame that was cut off by
a crash was never acknowledged. A bad frame with a valid one behind it is damage; `frame_follows`
tells the two apart.
"""

from __future__ import annotations

import math
import os
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

HEADER = struct.Struct("<II")
MAX_PAYLOAD = 2**32 - 1
_CHUNK = 1 << 20
#: bytes that one search may put through crc32; a segment that needs more is taken as damaged,
#: which loses nothing
_SEARCH_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Frames:
    """What `read_frames` found."""

    payloads: list[bytes]
    #: where the next frame starts, or what is not a valid frame (yet)
    offset: int
    #: a limit was reached; there may be more
    more: bool


def encode(payload: bytes) -> bytes:
    """Return the frame of a payload, which must not be empty."""
    return HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def read_frames(
    path: Path, offset: int, *, limit: int | None = None, max_bytes: int | None = None
) -> Frames:
    """Read the valid frames of a segment from ``offset`` on, at most ``limit`` of them.

    The payload that reaches ``max_bytes`` is the last one; the first comes however large it is.
    Stops at the first thing that is no valid frame. In a live segment that may be a frame that is
    being written; in an orphan it is the end, a torn tail, or damage (`frame_follows`).
    """
    payloads: list[bytes] = []
    room = math.inf if max_bytes is None else max_bytes
    with path.open("rb", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(offset)
        data = file.read(_CHUNK)
        at = 0
        while room > 0 and (limit is None or len(payloads) < limit):
            need = at + HEADER.size
            if need <= len(data):
                length, crc = HEADER.unpack_from(data, at)
                if length == 0:
                    break
                need += length
            if need > len(data):
                if offset + need > size:
                    break
                rest = file.read(max(_CHUNK, need - len(data)))
                if not rest:
                    break  # its writer cut the zeros off meanwhile
                data, offset, at = data[at:] + rest, offset + at, 0
                continue
            payload = data[at + HEADER.size : need]
            if zlib.crc32(payload) != crc:
                break
            payloads.append(payload)
            room -= len(payload)
            at = need
        else:
            return Frames(payloads=payloads, offset=offset + at, more=True)
    return Frames(payloads=payloads, offset=offset + at, more=False)


def end_of_frames(path: Path, offset: int) -> int:
    """Return where the frames end that begin at ``offset``, by their lengths alone, unread.

    Cheap: a file that ends in anything but zeros is full to its end; in any other only headers are
    read.
    """
    with path.open("rb", buffering=0) as file:
        fd, size = file.fileno(), file.seek(0, os.SEEK_END)
        if size > offset and os.pread(fd, 1, size - 1) != b"\0":
            return size
        while len(header := os.pread(fd, HEADER.size, offset)) == HEADER.size:
            length, _ = HEADER.unpack(header)
            if not length or offset + HEADER.size + length > size:
                break
            offset += HEADER.size + length
    return offset


def frame_follows(path: Path, offset: int) -> bool:
    """Tell whether a valid frame lies anywhere behind ``offset``, where no valid frame starts.

    True means damage in the middle of a segment; False a clean end or a torn tail. Only for a
    segment without a live writer. The search is bounded; where it gives up, the answer is True.
    """
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    size, budget = len(data), _SEARCH_BYTES
    # only a length whose high byte fits the file is worth a look; zeros at the end hold no header
    end = len(data.rstrip(b"\0"))
    high = b"[\\x00-\\x%02x]" % min(size >> 24, 255)
    for match in re.finditer(rb"(?s)(?=..." + high + rb")", data):
        at = match.start()
        if at == 0:
            continue
        if at >= end or at + HEADER.size > size:
            return False
        length, crc = HEADER.unpack_from(data, at)
        start = at + HEADER.size
        if not length or start + length > size:
            continue
        budget -= length
        if budget < 0 or zlib.crc32(memoryview(data)[start : start + length]) == crc:
            return True
    return False
