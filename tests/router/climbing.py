"""Rollouts on their way up, for stories that begin there."""

from __future__ import annotations

from typing import Any

from router.events import Event
from router.policy import DAY_S
from router.stages import Stage
from tests.router.build import (
    NOW,
    Log,
    summary,
)

AUTO: dict[str, Any] = {"actor": "auto"}


def to_r1(student: str = "s1", k: int = 1) -> Log:
    return raise_to_r1(Log(), student, k)


def raise_to_r1(log: Log, student: str, k: int) -> Log:
    log.send(Event.STUDENT_REGISTERED, student=student, **AUTO)
    log.send(Event.GATE_PROMOTE, student=student, evidence=summary(k=k), **AUTO)
    log.send(Event.APPROVE, student=student, evidence=summary(k=k))
    return log


def climb(log: Log, student: str = "s1", k: int = 1, steps: int = 4, ts: float = NOW) -> None:
    for i in range(steps):
        at = ts + (i + 1) * 30 * DAY_S
        log.send(Event.ADVANCE, student=student, ts=at, evidence=summary(k=k), **AUTO)


def stage(log: Log, student: str = "s1") -> Stage:
    subject = log.route.get(student)
    assert subject is not None
    return subject.stage
