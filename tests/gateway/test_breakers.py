from __future__ import annotations

from gateway.breakers import FAILURES, PROBE_S, Breakers


def _broken(now: float) -> Breakers:
    breakers = Breakers()
    opened = [breakers.failed("triage", "s1", now) for _ in range(FAILURES)]
    assert opened == [False] * (FAILURES - 1) + [True]
    return breakers


def test_failures_in_a_row_open_a_breaker() -> None:
    breakers = _broken(100.0)
    assert breakers.open_students("triage", 101.0) == {"s1"}
    assert breakers.open_students("other", 101.0) == frozenset()
    assert breakers.open_since() == {"triage/s1": 100.0}


def test_a_success_starts_the_count_again() -> None:
    breakers = Breakers()
    for _ in range(FAILURES - 1):
        breakers.failed("triage", "s1", 100.0)
    breakers.succeeded("triage", "s1")
    assert not breakers.failed("triage", "s1", 101.0)
    assert breakers.open_students("triage", 101.0) == frozenset()


def test_one_probe_passes_each_time() -> None:
    breakers = _broken(100.0)
    due = 100.0 + PROBE_S
    assert breakers.open_students("triage", due) == frozenset()
    breakers.asked("triage", "s1", due)
    assert breakers.open_students("triage", due + 1) == {"s1"}
    assert not breakers.failed("triage", "s1", due + 2)
    assert breakers.open_since() == {"triage/s1": 100.0}
    assert breakers.open_students("triage", due + PROBE_S) == frozenset()
    breakers.asked("triage", "s1", due + PROBE_S)
    breakers.succeeded("triage", "s1")
    assert breakers.open_since() == {}
    assert breakers.open_students("triage", due + PROBE_S + 1) == frozenset()


def test_students_that_are_gone_are_forgotten() -> None:
    breakers = _broken(100.0)
    breakers.keep([("triage", "s1"), ("triage", "s2")])
    assert breakers.open_since() == {"triage/s1": 100.0}
    breakers.keep([("triage", "s2")])
    assert breakers.open_since() == {}
    assert breakers.open_students("triage", 101.0) == frozenset()
