from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from router.assign import Assignment, Request, assign, in_audit_sample
from router.hashing import unit_interval
from router.snapshot import Route, StudentRoute, Target

NOW = 1_000.0
KEYS = [f"user-{i}" for i in range(20_000)]
TEACHER = Target(upstream="openai", model="big")


def student(name: str, weight: float, *, until: float | None = NOW + 60.0) -> StudentRoute:
    target = Target(upstream="local", model=name)
    stage = "LIVE" if weight == 1.0 else "R5"
    return StudentRoute(student=name, target=target, stage=stage, weight=weight, valid_until=until)


def a_route(*students: StudentRoute, holdout: float = 0.02, audit_rate: float = 0.0) -> Route:
    return Route(
        teacher=TEACHER, students=students, holdout=holdout, salt="salt", audit_rate=audit_rate
    )


def ask(
    route: Route,
    key: str = "k",
    *,
    pin: str | None = None,
    now: float = NOW,
    overridden: bool = False,
    leased: bool = True,
    open_breakers: frozenset[str] = frozenset(),
) -> Assignment:
    return assign(
        route,
        "triage",
        Request(key=key, trace_id="t", pin=pin),
        now=now,
        overridden=overridden,
        leased=leased,
        open_breakers=open_breakers,
    )


def taken(route: Route, name: str) -> set[str]:
    return {key for key in KEYS if (s := ask(route, key).student) is not None and s.student == name}


def test_the_hash_is_uniform_and_depends_on_every_part() -> None:
    values = [unit_interval("s", "a", key) for key in KEYS]
    assert sum(values) / len(values) == pytest.approx(0.5, abs=0.01)
    assert unit_interval("s", "a", "b") != unit_interval("s", "ab") != unit_interval("sa", "b")
    assert unit_interval("", "a") == unit_interval("", "a")


@given(st.text(), st.lists(st.text(), max_size=3))
def test_the_hash_stays_below_one(salt: str, parts: list[str]) -> None:
    assert 0.0 <= unit_interval(salt, *parts) < 1.0


def test_the_share_is_the_weight_outside_the_holdout() -> None:
    for weight in (0.01, 0.05, 0.25, 0.5):
        share = len(taken(a_route(student("s1", weight)), "s1")) / len(KEYS)
        assert share == pytest.approx(0.98 * weight, abs=0.01)
    live = len(taken(a_route(student("s1", 1.0)), "s1")) / len(KEYS)
    assert live == pytest.approx(0.98, abs=0.005)


def test_each_stage_contains_the_one_before() -> None:
    sets = [taken(a_route(student("s1", w)), "s1") for w in (0.01, 0.05, 0.25, 0.5, 1.0)]
    assert all(low < high for low, high in pairwise(sets))


def test_two_students_draw_independently() -> None:
    one = taken(a_route(student("s1", 0.2)), "s1")
    two = taken(a_route(student("s2", 0.2)), "s2")
    assert len(one & two) / len(one) == pytest.approx(0.2, abs=0.03)


def test_the_holdout_is_the_same_for_all_students_and_salts() -> None:
    live = a_route(student("s1", 1.0))
    held = {key for key in KEYS if ask(live, key).reason == "holdout"}
    assert len(held) / len(KEYS) == pytest.approx(0.02, abs=0.005)
    other = replace(a_route(student("s2", 1.0)), salt="another")
    assert held == {key for key in KEYS if ask(other, key).reason == "holdout"}


def test_a_challenger_takes_its_share_from_the_champion() -> None:
    both = a_route(student("s2", 0.25), student("s1", 1.0))
    challenger = taken(both, "s2")
    assert challenger == taken(a_route(student("s2", 0.25)), "s2")
    assert challenger | taken(both, "s1") == taken(a_route(student("s1", 1.0)), "s1")


@given(st.text(max_size=20), st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 0.5))
def test_propensities_of_all_sides_sum_to_one(
    key: str, first: float, second: float, holdout: float
) -> None:
    route = a_route(student("s2", first), student("s1", second), holdout=holdout)
    answer = ask(route, key)
    left = 1.0 - holdout
    expected = {
        "s2": left * first,
        "s1": left * (1 - first) * second,
        None: holdout + left * (1 - first) * (1 - second),
    }
    assert sum(expected.values()) == pytest.approx(1.0)
    side = answer.student.student if answer.student else None
    if max(first, second) > 0.0:
        assert answer.propensity == pytest.approx(expected[side])
    assert (answer.side == "student") == (answer.student is not None)


LIVE = a_route(student("s1", 1.0), holdout=0.0)


@pytest.mark.parametrize(
    ("route", "options", "reason", "side"),
    [
        (a_route(), {}, "default", "teacher"),
        (a_route(student("s1", 0.0, until=None)), {}, "default", "teacher"),
        (LIVE, {}, "rollout", "student"),
        (LIVE, {"overridden": True}, "rollback", "teacher"),
        (LIVE, {"leased": False}, "lease", "teacher"),
        (LIVE, {"now": NOW + 60.0}, "lease", "teacher"),
        (LIVE, {"now": NOW + 59.9}, "rollout", "student"),
        (a_route(student("s1", 1.0, until=None), holdout=0.0), {}, "lease", "teacher"),
        (LIVE, {"open_breakers": frozenset({"s1"})}, "breaker", "teacher"),
        (LIVE, {"open_breakers": frozenset({"s9"})}, "rollout", "student"),
        (LIVE, {"pin": "teacher"}, "pin", "teacher"),
        (LIVE, {"pin": "teacher", "overridden": True}, "pin", "teacher"),
        (LIVE, {"pin": "student"}, "pin", "student"),
        (LIVE, {"pin": "s1"}, "pin", "student"),
        (LIVE, {"pin": "s9"}, "pin", "teacher"),
        (LIVE, {"pin": "student", "overridden": True}, "rollback", "teacher"),
        (LIVE, {"pin": "student", "leased": False}, "lease", "teacher"),
        (LIVE, {"pin": "s1", "open_breakers": frozenset({"s1"})}, "breaker", "teacher"),
        (a_route(student("s1", 0.0)), {"pin": "s1"}, "pin", "teacher"),
        (a_route(student("s1", 1.0), holdout=1.0), {"pin": "s1"}, "pin", "student"),
        (a_route(student("s1", 1.0), holdout=1.0), {}, "holdout", "teacher"),
    ],
)
def test_reasons(route: Route, options: dict[str, object], reason: str, side: str) -> None:
    answer = ask(route, **options)  # type: ignore[arg-type]
    assert (answer.reason, answer.side) == (reason, side)


def test_a_broken_challenger_leaves_its_keys_to_the_champion() -> None:
    route = a_route(student("s2", 1.0), student("s1", 1.0), holdout=0.0)
    answer = ask(route, open_breakers=frozenset({"s2"}))
    assert answer.student is not None and answer.student.student == "s1"
    assert answer.propensity == 1.0


def test_stage_and_weight_are_told_on_the_teacher_too() -> None:
    answer = ask(a_route(student("s1", 1e-9)))
    assert (answer.reason, answer.stage, answer.weight) == ("rollout", "R5", 1e-9)
    assert (ask(a_route()).stage, ask(a_route()).weight) == ("", 0.0)


def test_the_audit_sample_has_its_rate_and_does_not_depend_on_the_answer() -> None:
    route = a_route(audit_rate=0.1)
    share = sum(in_audit_sample(route, "triage", key) for key in KEYS) / len(KEYS)
    assert share == pytest.approx(0.1, abs=0.01)
    live = a_route(student("s1", 1.0), audit_rate=0.1)
    assert all(
        in_audit_sample(route, "triage", key) == in_audit_sample(live, "triage", key)
        for key in KEYS[:500]
    )
    assert not any(in_audit_sample(a_route(), "triage", key) for key in KEYS[:500])
