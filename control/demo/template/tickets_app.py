"""The demo's teacher: a DSPy program that sorts support tickets into queues."""

from __future__ import annotations

import dspy


class Triage(dspy.Signature):
    """Sort a customer's message into the queue that should handle it."""

    text: str = dspy.InputField(desc="the customer's message")
    category: str = dspy.OutputField(desc="the queue, as a name in snake_case")
    confidence: float = dspy.OutputField(desc="0 to 1")


def build() -> dspy.Module:
    """Make the program; limbeck gives it its language model."""
    return dspy.ChainOfThought(Triage)


def correct(example, prediction, trace=None):
    """Is the queue the right one? ``example.category`` is the truth that came as feedback."""
    return example.category == prediction.category
