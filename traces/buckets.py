"""Which split a trace belongs to, for ever: a hash of its split group, taken at capture. Pure."""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

Split = Literal["exam", "calibration", "dev", "train"]

BUCKETS = 100
#: the first bucket behind each split; a change would move rows between exam and train
_ENDS: tuple[tuple[int, Split], ...] = (
    (12, "exam"),
    (24, "calibration"),
    (30, "dev"),
    (100, "train"),
)


def split_group(*, conversation_id: str | None, user_hash: str | None, inputs_hash: str) -> str:
    """Return what never straddles a split: the conversation, else the user, else the inputs."""
    if conversation_id:
        return f"conversation:{conversation_id}"
    if user_hash:
        return f"user:{user_hash}"
    return f"inputs:{inputs_hash}"


def bucket_of(group: str, *, salt: str) -> int:
    """Return the bucket of a split group, 0..99."""
    data = f"{salt}\x1f{group}".encode(errors="surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big") % BUCKETS


def split_of(bucket: int) -> Split:
    """Return the split of a bucket: 12 % exam, 12 % calibration, 6 % dev, the rest train."""
    for end, split in _ENDS:
        if 0 <= bucket < end:
            return split
    raise ValueError(f"bucket {bucket} is not in 0..{BUCKETS - 1}")
