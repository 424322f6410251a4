"""Sorts a customer's message into a queue: the teacher's program, and how good an answer is."""

from __future__ import annotations

from typing import Any, Literal

import dspy

Queue = Literal[
    "cancel_order",
    "cancel_subscription",
    "change_address",
    "damaged_item",
    "discount_code",
    "duplicate_charge",
    "invoice_request",
    "login_problem",
    "refund_status",
    "track_order",
    "warranty_claim",
    "wrong_item",
]


class Triage(dspy.Signature):
    """Sort a customer's message into the queue that should handle it."""

    text: str = dspy.InputField(desc="the customer's message")
    category: Queue = dspy.OutputField(desc="the queue")


def build() -> dspy.Module:
    """Make the program. limbeck gives it the language model of the route."""
    return dspy.ChainOfThought(Triage)


def correct(example: Any, prediction: Any, trace: Any = None) -> bool:
    """Score one answer: it must name the queue that the help desk says is right."""
    return bool(example.category == prediction.category)
