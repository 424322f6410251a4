from __future__ import annotations

import math

import msgspec
import pytest

from router.errors import EvidenceError
from router.forms import Form, bar_text, forms_of
from router.gate import Gate, GateState, alpha_for, judge
from router.policy import GatePolicy

POLICY = GatePolicy()


def gate(kind: str = "retention", bar: float = 0.95, alpha: float = 0.05) -> Gate:
    return Gate(Form(kind, bar), alpha=alpha, policy=POLICY)  # type: ignore[arg-type]


def feed(subject: Gate, n: int, student: float = 1.0, teacher: float = 1.0) -> Gate:
    for _ in range(n):
        subject.add(student, teacher)
    return subject


def test_alpha_is_spent_over_all_candidates() -> None:
    assert alpha_for(1, 0.05) == pytest.approx(0.0304, abs=1e-4)
    assert [round(1 / alpha_for(k, 0.05)) for k in (1, 2, 3, 10)] == [33, 132, 296, 3290]
    assert sum(alpha_for(k, 0.05) for k in range(1, 20_000)) < 0.05
    with pytest.raises(EvidenceError, match="candidate number 0"):
        alpha_for(0, 0.05)


def test_ties_promote_at_98_pairs_but_not_before_the_least_number() -> None:
    # All pairs tied at 1/1, alpha .05: E reaches 20 at pair 98; 100 is the least number.
    assert feed(gate(), 97).good.log_value < math.log(20) <= feed(gate(), 98).good.log_value
    early = feed(gate(), 99)
    assert judge([early], [], None).verdict == "collect"
    assert "at least 100" in judge([early], [], None).reason
    assert " (needs 20) after 99 of" in judge([early], [], None).reason
    assert judge([feed(gate(), 100)], [], None).verdict == "promote"


def test_a_bad_student_is_rejected_with_numbers() -> None:
    verdict = judge([feed(gate(), 100, student=0.5)], [], None)
    assert verdict.verdict == "reject"
    assert "student >= 0.950 x teacher" in verdict.reason and "100 pairs" in verdict.reason


def test_no_student_is_rejected_before_the_least_number() -> None:
    hopeless = feed(gate(), 99, student=0.0)
    assert hopeless.bad.log_max > -math.log(POLICY.beta)
    assert judge([hopeless], [], None).verdict == "collect"
    assert judge([feed(hopeless, 1, student=0.0)], [], None).verdict == "reject"


def test_only_the_current_e_promotes() -> None:
    subject = feed(feed(gate(), 150), 3, student=0.0)
    assert subject.good.log_max >= math.log(20) > subject.good.log_value
    assert judge([subject], [], None).verdict == "collect"


def test_retention_and_min_score_must_both_pass() -> None:
    ratio, absolute = gate(), gate("min_score", 0.8)
    feed(ratio, 400, 0.75, 0.75), feed(absolute, 400, 0.75, 0.75)
    assert ratio.passes and not absolute.passes
    assert judge([ratio, absolute], [], None).verdict == "reject"
    feed(ratio, 400), feed(absolute, 400)
    assert judge([ratio, absolute], [], None).verdict == "promote"


def test_cap_and_blockers() -> None:
    open_gate, passing = feed(gate(), 50), feed(gate(), 200)
    assert judge([open_gate], [], "undecided after 50 pairs").verdict == "inconclusive"
    blocked = judge([passing], ["label coverage 0.5"], None)
    assert (blocked.verdict, "label coverage 0.5" in blocked.reason) == ("collect", True)
    assert judge([passing], ["label coverage 0.5"], "cap").verdict == "inconclusive"


@pytest.mark.parametrize("score", [-0.01, 1.01, math.nan, math.inf])
def test_scores_out_of_range_are_refused_never_clipped(score: float) -> None:
    subject = gate()
    for pair in ((score, 1.0), (1.0, score)):
        with pytest.raises(EvidenceError, match="score"):
            subject.add(*pair)
    assert subject.n == 0


def test_state_is_exact() -> None:
    subject = feed(feed(gate("margin", 0.05), 30), 7, 0.3, 0.9)
    state = msgspec.json.decode(msgspec.json.encode(subject.state()), type=GateState)
    assert Gate.restore(state, alpha=0.05, policy=POLICY).state() == subject.state()


@pytest.mark.parametrize(
    ("form", "d", "gate_b", "guard_b"),
    [
        (Form("retention", 0.95), 0.05, 0.95, 1.0),
        (Form("min_score", 0.8), 0.2, 0.8, 0.2),
        (Form("margin", 0.05), 0.05, 0.95, 1.05),
    ],
)
def test_forms(form: Form, d: float, gate_b: float, guard_b: float) -> None:
    assert form.difference(1.0, 1.0) == pytest.approx(d)
    assert (form.gate_bound, form.guard_bound) == pytest.approx((gate_b, guard_b))
    for s in (0.0, 0.5, 1.0):
        for t in (0.0, 0.5, 1.0):
            assert -gate_b - 1e-12 <= form.difference(s, t) <= guard_b + 1e-12
    assert form.says(form.bar).startswith("student >= ")


def test_warn_bars() -> None:
    assert Form("retention", 0.95).warn_bars() == (0.96, 0.965, 0.97, 0.975)
    assert Form("retention", 0.99).warn_bars() == ()
    assert Form("min_score", 0.9).warn_bars()[-1] == 0.95
    assert Form("margin", 0.05).warn_bars() == (0.04, 0.035, 0.03, 0.025)
    assert Form("retention", 0.945).capped(0.975) == pytest.approx(0.9725)
    assert Form("margin", 0.05).capped(0.01) == 0.025


@pytest.mark.parametrize(
    ("kind", "bar"), [("min_score", 1.0), ("retention", 0.0), ("margin", 1.0), ("margin", math.nan)]
)
def test_impossible_bars_are_refused(kind: str, bar: float) -> None:
    with pytest.raises(EvidenceError, match=kind):
        Form(kind, bar)  # type: ignore[arg-type]


def test_forms_of_a_policy() -> None:
    assert [f.kind for f in forms_of(GatePolicy(min_score=0.8))] == ["retention", "min_score"]
    assert bar_text(GatePolicy(margin=0.1)) == "retention=0.95; margin=0.1"
    with pytest.raises(EvidenceError, match="no bar"):
        forms_of(GatePolicy(retention=None))
