from __future__ import annotations

import pytest

from control.leases import inherited, watched
from control.measure import Fault
from router.snapshot import Route, StudentRoute, Target
from router.stages import Stage
from router.state import StudentWeight

NOW = 1_700_000_000.0


@pytest.mark.parametrize("lag_s", [0.0, 2.0, 4.9])
def test_a_collector_as_slow_as_usual_shortens_no_lease(lag_s: float) -> None:
    assert watched(now=NOW, collected_to=NOW - lag_s, faults=()) == (NOW, None)


def test_a_collector_that_stands_still_ends_the_leases() -> None:
    until, blind = watched(now=NOW, collected_to=NOW - 90, faults=())
    assert until == NOW - 85
    assert blind == (
        "no lease is renewed, as nothing has been collected since 2023-11-14 22:11:50 UTC"
    )


def test_a_metric_that_cannot_be_used_ends_them_from_then_on() -> None:
    fault = Fault(since=NOW - 30, why="it does not load")
    for later in (0.0, 1_000.0):
        until, blind = watched(now=NOW + later, collected_to=NOW + later - 2, faults=(fault,))
        assert until == NOW - 30
        assert blind is not None and blind.endswith("22:12:50 UTC: it does not load")


def test_of_two_faults_the_earlier_one_counts() -> None:
    early, late = (Fault(since=NOW - ago, why=f"for {ago} s") for ago in (60, 30))
    for faults in ((early, late), (late, early)):
        until, blind = watched(now=NOW, collected_to=NOW, faults=faults)
        assert until == NOW - 60
        assert blind is not None and blind.endswith("for 60 s")


def test_what_has_stood_still_for_longer_counts() -> None:
    fault = Fault(since=NOW - 30, why="it does not load")
    until, blind = watched(now=NOW, collected_to=NOW - 90, faults=(fault,))
    assert until == NOW - 85 and blind is not None and "collected" in blind


def test_leases_of_an_earlier_control_run_on() -> None:
    def line(student: str, valid_until: float | None) -> StudentRoute:
        target = Target(upstream="students", model=student)
        return StudentRoute(
            student=student, target=target, stage="R5", weight=0.05, valid_until=valid_until
        )

    lines = [
        StudentWeight(student="s2", stage=Stage.R5, weight=0.05, lease_s=60.0),
        StudentWeight(student="s1", stage=Stage.LIVE, weight=1.0, lease_s=600.0),
    ]
    route = Route(
        teacher=Target(upstream="up", model="m"),
        students=(line("s2", NOW + 50), line("s1", NOW + 590), line("s0", NOW), line("s2", None)),
    )
    assert inherited(route, lines) == NOW - 10
    assert inherited(None, lines) == inherited(Route(teacher=route.teacher), lines) == 0.0
