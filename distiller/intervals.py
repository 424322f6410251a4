"""How sure an exam's mean is, and which gap it could see at all. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

#: two-sided 95 %
_Z = 1.959964
#: one-sided alpha .05 and power .8, for planning
_Z_PLANNED = 1.6449 + 0.8416
_RESAMPLES = 2_000
_SEED = 1

Method = Literal["wilson", "bootstrap"]


class Interval(NamedTuple):
    """95 %."""

    low: float
    high: float
    method: Method


def interval(scores: Sequence[float]) -> Interval:
    """Wilson's interval for scores of 0 and 1; else a seeded percentile bootstrap of the mean."""
    if not scores:
        return Interval(0.0, 1.0, "wilson")
    if all(score in (0.0, 1.0) for score in scores):
        return _wilson(sum(scores), len(scores))
    values = np.asarray(scores, dtype=np.float64)
    draws = np.random.default_rng(_SEED).integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), (0.025, 0.975))
    return Interval(float(low), float(high), "bootstrap")


def smallest_gap(differences: Sequence[float]) -> float:
    """The smallest gap to the teacher that this many pairs would find with power .8.

    ``differences`` are student minus teacher on the same rows. For scores of 0 and 1 their mean
    square is the share of discordant pairs; it is not taken as smaller than one such pair.
    """
    n = len(differences)
    if n == 0:
        return 1.0
    spread = max(sum(d * d for d in differences) / n, 1 / n)
    return min(1.0, _Z_PLANNED * math.sqrt(spread / n))


def standard_error(differences: Sequence[float]) -> float:
    """Standard error of the mean of paired differences."""
    n = len(differences)
    if n < 2:
        return 1.0
    return float(np.std(np.asarray(differences, dtype=np.float64), ddof=1)) / math.sqrt(n)


def _wilson(hits: float, n: int) -> Interval:
    share, z2 = hits / n, _Z * _Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return Interval(max(0.0, centre - half), min(1.0, centre + half), "wilson")
