"""Texts as sparse TF-IDF vectors: words (1-2 grams) and characters within words (2-5 grams).

The grams are those of scikit-learn's ``TfidfVectorizer`` (``word`` and ``char_wb`` analyzers,
lower case), written out here because training and serving must agree and the student server loads
no scikit-learn.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

#: a term that only one row has is noise, and half of all terms
_LEAST_ROWS = 2
#: of each kind of gram, the most frequent ones
_MOST_TERMS = 100_000
_WORD = re.compile(r"(?u)\b\w\w+\b")
_SPACE = re.compile(r"\s\s+")
_CHARACTER_GRAMS = (2, 3, 4, 5)


class Vector(NamedTuple):
    """A sparse row: sorted columns and their values."""

    columns: NDArray[np.int32]
    values: NDArray[np.float32]


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """The vocabulary of one kind of gram: terms and their inverse document frequencies."""

    terms: tuple[str, ...]
    idf: tuple[float, ...]


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True):
    """What ``vocabulary.json`` holds."""

    words: Block
    characters: Block

    @property
    def size(self) -> int:
        return len(self.words.terms) + len(self.characters.terms)


class Vectoriser:
    """Turns texts into vectors. Safe to share between threads: nothing in it changes."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.size = vocabulary.size
        self._blocks = (
            _Columns(vocabulary.words, word_grams, first=0),
            _Columns(vocabulary.characters, character_grams, first=len(vocabulary.words.terms)),
        )

    def vector(self, text: str) -> Vector:
        parts = [block.vector(text) for block in self._blocks]
        return Vector(
            np.concatenate([part.columns for part in parts]),
            np.concatenate([part.values for part in parts]),
        )


class _Columns:
    """One block: sublinear term frequency, idf, unit length."""

    def __init__(self, block: Block, grams: Callable[[str], Iterable[str]], *, first: int) -> None:
        self._column = {term: i for i, term in enumerate(block.terms)}
        self._idf = np.asarray(block.idf, dtype=np.float64)
        self._grams = grams
        self._first = first

    def vector(self, text: str) -> Vector:
        column = self._column
        counts = Counter(column[gram] for gram in self._grams(text) if gram in column)
        columns = np.array(sorted(counts), dtype=np.int32)
        frequencies = np.array([1.0 + math.log(counts[c]) for c in columns.tolist()])
        values = frequencies * self._idf[columns]
        length = float(np.sqrt(values @ values))
        if length > 0:
            values /= length
        return Vector(columns + np.int32(self._first), values.astype(np.float32))


def learn_vocabulary(texts: Sequence[str]) -> Vocabulary:
    """Choose the terms of ``texts`` and weigh them. Deterministic: terms are sorted."""
    return Vocabulary(
        words=_learn_block(texts, word_grams), characters=_learn_block(texts, character_grams)
    )


def word_grams(text: str) -> list[str]:
    """Return the words of two characters or more, and their neighbouring pairs."""
    words = _WORD.findall(text.lower())
    return words + [f"{a} {b}" for a, b in pairwise(words)]


def character_grams(text: str) -> list[str]:
    """Return the character grams of each word, padded by one space at both ends."""
    grams: list[str] = []
    for bare in _SPACE.sub(" ", text.lower()).split():
        word = f" {bare} "
        for n in _CHARACTER_GRAMS:
            grams.append(word[:n])
            if len(word) <= n:
                break  # a word shorter than n is counted once
            grams.extend(word[i : i + n] for i in range(1, len(word) - n + 1))
    return grams


def input_text(inputs: Mapping[str, Any]) -> str:
    """Return the inputs of a predictor as one text: the value alone if there is but one."""
    if len(inputs) == 1:
        return _value_text(next(iter(inputs.values())))
    return "\n".join(f"{name}: {_value_text(inputs[name])}" for name in sorted(inputs))


def _learn_block(texts: Sequence[str], grams: Callable[[str], Iterable[str]]) -> Block:
    rows_with: Counter[str] = Counter()
    for text in texts:
        rows_with.update(set(grams(text)))
    kept = sorted(
        (term for term, n in rows_with.items() if n >= _LEAST_ROWS),
        key=lambda term: (-rows_with[term], term),
    )[:_MOST_TERMS]
    kept.sort()
    idf = tuple(round(math.log((1 + len(texts)) / (1 + rows_with[term])) + 1.0, 6) for term in kept)
    return Block(terms=tuple(kept), idf=idf)


def _value_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
