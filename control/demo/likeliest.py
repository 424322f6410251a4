"""The likeliest label of a text that the stand-in never saw, from the words of texts it knows."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable

_WORD = re.compile(r"[^\W_]+")
#: what a word that a label never had counts as
_UNSEEN = 0.1


class Likeliest:
    """Naive Bayes over the words of a text, all labels being equally likely beforehand."""

    def __init__(self, examples: Iterable[tuple[str, str]]) -> None:
        """``examples``: texts with their labels; at least one."""
        self._texts: Counter[str] = Counter()
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for text, label in examples:
            self._texts[label] += 1
            self._counts[label].update(_words(text))

    def label(self, text: str) -> str:
        """The label under which the words of ``text`` are likeliest; of equals the first."""
        # Sorted, as a sum of floats depends on the order of its parts.
        words = sorted(_words(text))

        def likelihood(label: str) -> float:
            counts, texts = self._counts[label], self._texts[label]
            return sum(math.log((counts[word] + _UNSEEN) / (texts + 1)) for word in words)

        return max(self._texts, key=likelihood)


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.lower()))
