"""Near-duplicate texts: MinHash to find them, exact Jaccard to be sure, a guard on what matters.

Character 5-shingles of the lower-cased text, 128 permutations, 32 bands of 4 rows. Texts that
differ in digits, ids or negations are never near ("card 1" and "card 2", "can" and "can't"):
such texts do not even meet, so a template with a number in it costs no comparison.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from distiller.dataset.text import bare

_SHINGLE = 5
_PERMUTATIONS = 128
_BANDS = 32
_ROWS = _PERMUTATIONS // _BANDS
#: Jaccard similarity from which two texts are near
NEAR = 0.8

# Multiply-shift hashing: odd multipliers, modulo 2^64, the upper half is used.
_random = np.random.default_rng(20_240_229)
_MULTIPLIERS = _random.integers(0, 2**63, _PERMUTATIONS, dtype=np.uint64) | np.uint64(1)
_OFFSETS = _random.integers(0, 2**63, _PERMUTATIONS, dtype=np.uint64)
_POWERS = _random.integers(0, 2**63, _SHINGLE, dtype=np.uint64) | np.uint64(1)
#: shingles hashed at a time; bounds the memory of one very long text (4 MB)
_CHUNK = 4_096

_WITH_DIGIT = re.compile(r"[^\W_]*\d(?:[\w.,:/-]*\w)?")
_NEGATION = re.compile(
    r"\b(?:no|not|never|none|nor|neither|without|cannot|nothing|nobody|\w+n['\u2019]t"
    r"|dont|doesnt|didnt|cant|wont|isnt|wasnt|arent|couldnt|shouldnt|wouldnt|havent|hasnt)\b"
)

Slots = tuple[tuple[str, ...], int]


def slots(text: str) -> Slots:
    """What two near texts must share: their words with digits, and how many negations."""
    lowered = text.lower()
    return tuple(sorted(_WITH_DIGIT.findall(lowered))), len(_NEGATION.findall(lowered))


def shingles(text: str) -> frozenset[str]:
    """The character 5-shingles of the lower-cased text; a shorter text is its own shingle."""
    lowered = text.lower()
    if len(lowered) <= _SHINGLE:
        return frozenset({lowered})
    return frozenset(lowered[i : i + _SHINGLE] for i in range(len(lowered) - _SHINGLE + 1))


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    """Shared shingles over all shingles."""
    shared = len(left & right)
    return shared / (len(left) + len(right) - shared)


def signature(text: str) -> NDArray[np.uint32]:
    """The MinHash of a text: 128 minima."""
    points = np.frombuffer(text.lower().encode("utf-32-le", "surrogatepass"), np.uint32)
    codes = points.astype(np.uint64)
    if len(codes) < _SHINGLE:
        codes = np.pad(codes, (0, _SHINGLE - len(codes)))
    windows = np.lib.stride_tricks.sliding_window_view(codes, _SHINGLE)
    hashed = (windows * _POWERS).sum(axis=1, dtype=np.uint64)
    hashed ^= hashed >> np.uint64(29)
    least = np.full(_PERMUTATIONS, 2**32 - 1, np.uint32)
    for start in range(0, len(hashed), _CHUNK):
        part = hashed[start : start + _CHUNK, None] * _MULTIPLIERS + _OFFSETS
        np.minimum(least, (part >> np.uint64(32)).min(axis=0).astype(np.uint32), out=least)
    return least


class NearIndex:
    """Texts to keep away from. Ask with `near` whether another text is too close to one."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._exact: set[str] = set()
        self._shingles: list[frozenset[str]] = []
        self._bands: defaultdict[tuple[int, bytes, Slots], list[int]] = defaultdict(list)
        for text in dict.fromkeys(texts):
            self._exact.add(bare(text))
            number = len(self._shingles)
            self._shingles.append(shingles(text))
            for key in _keys(text):
                self._bands[key].append(number)

    def near(self, text: str) -> bool:
        """Equal after normalisation, or near with the same digits, ids and negations."""
        if bare(text) in self._exact:
            return True
        met: set[int] = set()
        for key in _keys(text):
            met.update(self._bands.get(key, ()))
        if not met:
            return False
        own = shingles(text)
        return any(jaccard(own, self._shingles[number]) >= NEAR for number in met)


def near_rows(texts: Sequence[str], protected: Iterable[str]) -> list[bool]:
    """Say for each text whether it is near a protected one."""
    index = NearIndex(protected)
    return [index.near(text) for text in texts]


def _keys(text: str) -> list[tuple[int, bytes, Slots]]:
    minima, guard = signature(text).reshape(_BANDS, _ROWS), slots(text)
    return [(band, row.tobytes(), guard) for band, row in enumerate(minima)]
