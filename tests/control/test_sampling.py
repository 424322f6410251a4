from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from control.sampling import Draw, Finished, draw
from router.policy import ShadowPolicy


def finished(number: int = 0, **changes: Any) -> Finished:
    values: dict[str, Any] = {
        "trace_id": f"{number:032x}", "ts_us": number, "served_by": "teacher", "student": None,
        "reason": "rollout", "propensity": 0.99, "conversation_id": None,
        "inputs_hash": f"h{number}", "audit": False, "audit_propensity": None, "answer": "yes",
    }  # fmt: skip
    return Finished(**(values | changes))


def drawn(*requests: Finished, rate: float = 1.0, **changes: Any) -> list[Draw]:
    values: dict[str, Any] = {
        "route": "r", "student": "s1", "policy": ShadowPolicy(sample_rate=rate, reverse_rate=rate),
        "audited_only": False, "conversations": set(),
    }  # fmt: skip
    return draw(requests, **(values | changes))


@settings(max_examples=30)
@given(low=st.floats(0, 1), high=st.floats(0, 1))
def test_a_higher_rate_draws_the_same_requests_and_more(low: float, high: float) -> None:
    low, high = sorted((low, high))
    requests = [finished(number) for number in range(200)]
    few = {one.request.trace_id for one in drawn(*requests, rate=low)}
    many = {one.request.trace_id for one in drawn(*requests, rate=high)}
    assert few <= many


def test_the_share_matches_the_rate_and_the_propensity_is_stored() -> None:
    found = drawn(*(finished(number) for number in range(20_000)), rate=0.1)
    assert 1_800 < len(found) < 2_200
    assert {one.propensity for one in found} == {0.1}


def test_one_pair_a_conversation_also_across_calls() -> None:
    conversations = {"old"}
    turns = [finished(n, conversation_id=c) for n, c in enumerate(["a", "a", "old", "b"])]
    found = drawn(*turns, conversations=conversations)
    assert [one.request.conversation_id for one in found] == ["a", "b"]
    assert conversations == {"old", "a", "b"}


def test_who_served_decides_who_is_asked_again() -> None:
    own = finished(1, served_by="student", student="s1")
    other = finished(2, served_by="student", student="s0")
    pinned = finished(3, served_by="student", student="s1", reason="pin")
    to_teacher = finished(4, reason="pin")
    found = drawn(finished(0), own, other, pinned, to_teacher)
    assert [(one.request.trace_id, one.kind) for one in found] == [
        (finished(0).trace_id, "shadow"),
        (own.trace_id, "reverse_shadow"),
    ]


def test_where_labels_come_for_the_audit_sample_all_of_it_is_drawn_and_nothing_else() -> None:
    audited = finished(1, audit=True, audit_propensity=0.05)
    found = drawn(finished(0), audited, rate=0.0, audited_only=True)
    assert [(one.request.trace_id, one.propensity) for one in found] == [(audited.trace_id, 0.05)]
