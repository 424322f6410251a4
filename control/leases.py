"""From when on the leases of a route run: from the last moment at which somebody guarded it. Pure.

A lease that is not renewed ends by itself, and the teacher takes over.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from control.measure import Fault
from control.report import words
from router.snapshot import Route
from router.state import StudentWeight

#: so far the collector lags as a rule, seconds; that much shortens no lease
_LAG_S = 5.0


class Watched(NamedTuple):
    """How long the guards of a route have seen what they guard."""

    #: Unix seconds
    until: float
    #: why not until now, in words; None: until now
    blind: str | None


def watched(*, now: float, collected_to: float, faults: Iterable[Fault]) -> Watched:
    """Until when a route was guarded.

    ``collected_to``: what happened before is in the store. ``faults``: of the route's metric.
    """
    known = collected_to + _LAG_S
    fault = min(faults, key=lambda one: one.since, default=None)
    if fault is not None and fault.since <= min(known, now):
        since = words.moment(fault.since)
        return Watched(
            fault.since,
            f"no lease is renewed, as nothing has been scored since {since} UTC: {fault.why}",
        )
    if known < now:
        since = words.moment(collected_to)
        return Watched(
            known, f"no lease is renewed, as nothing has been collected since {since} UTC"
        )
    return Watched(now, None)


def inherited(route: Route | None, lines: Iterable[StudentWeight]) -> float:
    """From when the leases run that an earlier control has given; 0: it has given none.

    ``route``: as in the newest snapshot; ``lines``: what its students may have now.
    """
    if route is None:
        return 0.0
    lease_s = {line.student: line.lease_s for line in lines}
    return min(
        (
            student.valid_until - lease_s[student.student]
            for student in route.students
            if student.valid_until is not None and student.student in lease_s
        ),
        default=0.0,
    )
