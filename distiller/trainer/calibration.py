"""Making probabilities honest: one temperature that divides all logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from distiller.student_server.shapes import logit

#: fewer rows say too little about a temperature
LEAST_ROWS = 20
#: weight of the pull towards slope 1 and intercept 0, in rows
_PULL = 0.5
_RANGE = (-3.0, 3.0)  # of the temperature's logarithm: 0.05 .. 20


class Labelled(NamedTuple):
    """Logits of one output field (rows x classes) and the right class of each row."""

    logits: NDArray[np.float64]
    truth: NDArray[np.int64]


def fit_temperature(fields: Sequence[Labelled]) -> float | None:
    """Return the temperature with the least log loss; None with too few rows to tell.

    Rows whose truth is no known class must be left out by the caller.
    """
    count = sum(len(field.truth) for field in fields)
    if count < LEAST_ROWS:
        return None
    # As if one more row had been wrong: rows that are all right don't make anything certain.
    doubt = 1 / (count + 2)

    def log_loss(log_temperature: float) -> float:
        return sum(_log_loss(field, np.exp(-log_temperature), doubt) for field in fields)

    found = minimize_scalar(log_loss, bounds=_RANGE, method="bounded")
    return round(float(np.exp(found.x)), 4)


def fit_map(probabilities: Sequence[float], right: Sequence[bool]) -> tuple[float, float] | None:
    """Return slope and intercept of a monotone map of logits; None with too few rows to tell.

    Platt's map with smoothed targets, and a mild pull towards no change: rows that are all right
    and all sure would fit any line through one point.
    """
    count, wins = len(right), sum(right)
    if count < LEAST_ROWS:
        return None
    logits = np.array([logit(p) for p in probabilities])
    targets = np.where(right, (wins + 1) / (wins + 2), 1 / (count - wins + 2))

    def loss(parameters: NDArray[np.float64]) -> float:
        z = parameters[0] * logits + parameters[1]
        pull = (parameters[0] - 1.0) ** 2 + parameters[1] ** 2
        return float((np.logaddexp(0.0, z) - targets * z).sum() + _PULL * pull)

    found = minimize(loss, x0=np.array([1.0, 0.0]), bounds=[(0.0, 5.0), (-10.0, 10.0)])
    return round(float(found.x[0]), 4), round(float(found.x[1]), 4)


def _log_loss(field: Labelled, scale: float, doubt: float) -> float:
    logits = field.logits * scale
    logits = logits - logits.max(axis=1, keepdims=True)
    chosen = logits[np.arange(len(field.truth)), field.truth]
    aim = (1 - doubt) * chosen + doubt * logits.mean(axis=1)
    return float((np.log(np.exp(logits).sum(axis=1)) - aim).sum())
