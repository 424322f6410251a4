"""How many epochs fit into the time: pure arithmetic on a measured step."""

from __future__ import annotations

from math import ceil, floor

import msgspec

from distiller.trainer.refusal import Refused

MOST_EPOCHS = 8
LEAST_EPOCHS = 3
_SHORTEST_S, _LONGEST_S = 120.0, 1800.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Decided once a job and kept for its resumptions."""

    epochs: int
    #: training stops here, whatever it has reached
    max_seconds: float
    predicted_s: float
    #: fewer epochs than wished for
    shortened: bool


def steps_per_epoch(rows: int, batch: int) -> int:
    return ceil(rows / batch)


def plan(*, epoch_s: float, epochs: int, max_seconds: float | None) -> Plan:
    """Fit ``epochs`` of ``epoch_s`` seconds into the time.

    Without ``max_seconds`` twice the prediction is allowed, within 120..1,800 s. Raises `Refused`,
    with the figures, if not even 3 epochs (or the fewer wished for) fit.
    """
    predicted = epoch_s * epochs
    limit = max_seconds or min(max(2 * predicted, _SHORTEST_S), _LONGEST_S)
    fitting = min(epochs, floor(limit / epoch_s)) if epoch_s > 0 else epochs
    if fitting < min(LEAST_EPOCHS, epochs):
        raise Refused(
            f"training would take about {predicted:.0f} s ({epochs} epochs of {epoch_s:.0f} s), "
            f"of which {limit:.0f} s are allowed. Train on fewer rows, allow more with the "
            "hyperparameter max_seconds, or train on a machine with a GPU",
            code="time_limit",
        )
    return Plan(
        epochs=fitting,
        max_seconds=limit,
        predicted_s=round(epoch_s * fitting, 1),
        shortened=fitting < epochs,
    )
