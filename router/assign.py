"""Which side answers one request: a pure function of key, weights and salt. Sticky and monotone.

On the hot path of every request: no allocation beyond the answer, at most one hash per student plus
one for the holdout.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from router.hashing import unit_interval
from router.snapshot import Route, StudentRoute

Side = Literal["teacher", "student"]
Reason = Literal["default", "rollout", "holdout", "pin", "rollback", "lease", "breaker"]

#: The holdout's salt never changes, so the same keys stay on the teacher for all students.
HOLDOUT_SALT = ""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What assignment needs to know about a request."""

    #: the sticky key; equal keys get the same side
    key: str
    trace_id: str
    #: ``teacher``, ``student`` or a student's id; None: not pinned
    pin: str | None = None


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers, and why."""

    side: Side
    #: None on the teacher
    student: StudentRoute | None
    reason: Reason
    #: probability, over keys, that the policy in force picks this side (this student)
    propensity: float
    #: of the student that serves, else of the newest student; "" without a student
    stage: str
    weight: float


def assign(
    route: Route,
    name: str,
    request: Request,
    *,
    now: float,
    overridden: bool,
    leased: bool,
    open_breakers: frozenset[str],
) -> Assignment:
    """Pick the side for one request of the route ``name``.

    ``overridden``: an override file is in force. ``leased``: False while the snapshot is broken.
    ``open_breakers``: ids of the students whose breaker is open in this worker.
    A pin to the teacher always holds; a pin to a student never reaches one whose weight is 0.
    """
    if request.pin == "teacher":
        return _teacher(route, "pin", 1.0)
    if overridden:
        return _teacher(route, "rollback", 1.0)
    if request.pin is not None:
        return _pinned(route, request.pin, now, leased, open_breakers)
    if not any(student.weight > 0.0 for student in route.students):
        return _teacher(route, "default", 1.0)
    held_out = unit_interval(HOLDOUT_SALT, "holdout", name, request.key) < route.holdout
    return _drawn(route, name, request.key, held_out, now, leased, open_breakers)


def in_audit_sample(route: Route, name: str, trace_id: str) -> bool:
    """Whether independent labels are asked for: drawn before any answer is seen."""
    return unit_interval(route.salt, "audit", name, trace_id) < route.audit_rate


def _drawn(
    route: Route,
    name: str,
    key: str,
    held_out: bool,
    now: float,
    leased: bool,
    open_breakers: frozenset[str],
) -> Assignment:
    """Walk the students, newest first; the first that draws the key answers it."""
    reason: Reason = "holdout" if held_out else "rollout"
    #: probability that no student so far took the key
    left = 1.0 - route.holdout
    for student in route.students:
        if student.weight <= 0.0:
            continue
        fault = _fault(student, now, leased, open_breakers)
        if not held_out and unit_interval(route.salt, "ramp", name, student.student, key) < (
            student.weight
        ):
            if fault is None:
                return Assignment(
                    side="student",
                    student=student,
                    reason="rollout",
                    propensity=left * student.weight,
                    stage=student.stage,
                    weight=student.weight,
                )
            reason = fault
        if fault is None:
            left *= 1.0 - student.weight
    return _teacher(route, reason, route.holdout + left)


def _pinned(
    route: Route, pin: str, now: float, leased: bool, open_breakers: frozenset[str]
) -> Assignment:
    """Honour a pin to a student as far as the rollout exposes that student at all.

    Whoever answers, the client chose: it is no evidence.
    """
    reason: Reason = "pin"
    for student in route.students:
        if student.weight <= 0.0 or pin not in ("student", student.student):
            continue
        fault = _fault(student, now, leased, open_breakers)
        if fault is None:
            return Assignment(
                side="student",
                student=student,
                reason="pin",
                propensity=1.0,
                stage=student.stage,
                weight=student.weight,
            )
        reason = fault
    return _teacher(route, reason, 1.0)


def _fault(
    student: StudentRoute, now: float, leased: bool, open_breakers: frozenset[str]
) -> Literal["lease", "breaker"] | None:
    """Why this student's weight does not count now; None: it counts."""
    if not leased or student.valid_until is None or now >= student.valid_until:
        return "lease"
    return "breaker" if student.student in open_breakers else None


def _teacher(route: Route, reason: Reason, propensity: float) -> Assignment:
    newest = route.students[0] if route.students else None
    return Assignment(
        side="teacher",
        student=None,
        reason=reason,
        propensity=propensity,
        stage=newest.stage if newest else "",
        weight=newest.weight if newest else 0.0,
    )
