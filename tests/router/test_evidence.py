from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from router.errors import EvidenceError
from router.evidence import Evidence, EvidenceState
from router.pairs import Coverage, Marks, Outcome, Pair
from router.policy import DAY_S, GatePolicy, GuardPolicy, Policy
from tests.router.build import NOW, POLICY, pairs, scores

START = NOW - 3 * DAY_S
MARKS = Marks(cap_from=START)


def evidence(policy: Policy = POLICY, *, k: int = 1, marks: Marks = MARKS) -> Evidence:
    return Evidence(policy, k=k, marks=marks)


def feed(subject: Evidence, source: Iterable[Pair]) -> Evidence:
    for pair in source:
        subject.add(pair)
    return subject


def good(n: int, **fields: Any) -> Iterator[Pair]:
    return pairs(scores(1, student=0.95, teacher=0.92, both=0.9), n, **fields)


def test_a_good_student_is_promoted_with_all_numbers() -> None:
    subject = feed(evidence(), good(1_000))
    summary = subject.summary(NOW)
    assert summary.gate.verdict == "promote" and summary.passes
    assert (summary.n, summary.n_all, summary.seq) == (1_000, 1_000, 1_000)
    assert summary.threshold == pytest.approx(32.9, abs=0.1)
    assert summary.log_e >= math.log(summary.threshold)
    (form,) = summary.forms
    assert form.p < 0.0304 and form.pairs_needed == 0 and form.tipping_point > 0
    assert form.time_average is not None and form.mean_difference is not None
    assert form.time_average < form.mean_difference
    assert form.proved is not None and form.proved >= 0.95
    assert summary.student_interval is not None and summary.mean_student is not None
    assert summary.student_interval.low < summary.mean_student < summary.student_interval.high
    assert summary.control_rejected and summary.control_n == 999
    assert summary.label_coverage == 1.0 and summary.outcomes == {"scored": 1_000}
    assert summary.guard.verdict == "clear" and summary.guards == ()
    assert msgspec.json.decode(msgspec.json.encode(summary), type=type(summary)) == summary


def test_the_pace_is_that_of_whole_days() -> None:
    assert feed(evidence(), good(100, every_s=60.0)).summary(NOW).pairs_a_day == 0.0
    assert feed(evidence(), good(400, every_s=864.0)).summary(NOW).pairs_a_day == 100.0


def test_a_later_candidate_needs_more() -> None:
    first = feed(evidence(k=1), good(120)).summary(NOW)
    tenth = feed(evidence(k=10), good(120)).summary(NOW)
    assert first.log_e == tenth.log_e
    assert (first.gate.verdict, tenth.gate.verdict) == ("promote", "collect")


def test_volunteered_labels_are_refused() -> None:
    subject = evidence()
    before = subject.state()
    with pytest.raises(EvidenceError, match="volunteered"):
        feed(subject, good(1, coverage=Coverage.VOLUNTEERED))
    assert subject.state() == before
    feed(subject, good(1, coverage=Coverage.AUDIT))


@pytest.mark.parametrize(
    "broken",
    [
        {"student": 1.2},
        {"teacher": math.nan},
        {"student": None},
        {"control": -0.5},
        {"weight": 0.0},
        {"weight": math.nan},
        {"ts": math.inf},
        {"seq": 0},
    ],
)
def test_a_refused_pair_changes_nothing(broken: dict[str, object]) -> None:
    subject = feed(evidence(), good(20))
    before = subject.state()
    pair = Pair(seq=21, ts=NOW, student=1.0, teacher=1.0, control=0.0)
    with pytest.raises(EvidenceError):
        subject.add(replace(pair, **broken))
    assert subject.state() == before


def test_a_pair_counts_once() -> None:
    subject = feed(evidence(), good(20))
    with pytest.raises(EvidenceError, match="counts once"):
        feed(subject, good(1, start=20))


def test_a_metric_that_cannot_fail_never_promotes() -> None:
    always_one = pairs(scores(1, student=1.0, teacher=1.0), 6_000, control=1.0, every_s=1.0)
    subject = feed(evidence(), itertools.islice(always_one, 300))
    assert subject.summary(NOW).passes
    verdict = subject.gate(NOW)
    assert verdict.verdict == "collect"
    assert "cannot tell a shuffled answer from a real one" in verdict.reason
    assert feed(subject, always_one).gate(NOW).verdict == "inconclusive"


def test_one_bar_that_a_shuffled_answer_misses_is_enough() -> None:
    policy = Policy(gate=GatePolicy(min_score=0.1))
    subject = feed(evidence(policy), good(300, control=0.3))
    ratio, absolute = subject.summary(NOW).forms
    assert ratio.log_control > 3.0 > absolute.log_control
    assert subject.summary(NOW).control_rejected


@pytest.mark.parametrize("n", [0, 40])
def test_below_the_least_number_of_pairs_only_those_are_missed(n: int) -> None:
    """A healthy student that has just begun must not look broken."""
    verdict = feed(evidence(), good(n, control=None)).gate(NOW + 90 * DAY_S)
    assert verdict.verdict != "promote"
    assert verdict.reason.endswith(f"after {n} of at least 100 pairs")


def test_what_no_pair_can_mend_is_told_from_the_first_one() -> None:
    subject = feed(evidence(), good(10))
    for seq in range(11, 21):
        subject.add(Pair(seq=seq, ts=NOW, student=None, teacher=None, outcome=Outcome.UNLABELLED))
    assert "label coverage 0.500 is below 0.90" in subject.gate(NOW).reason


def test_without_a_negative_control_nothing_is_promoted() -> None:
    subject = feed(evidence(), good(500, control=None))
    assert subject.gate(NOW).verdict == "collect"


def test_failures_and_outages_are_no_scores() -> None:
    subject = feed(evidence(), good(100))
    log_e = subject.summary(NOW).log_e
    for seq, outcome in enumerate((Outcome.STUDENT_FAILED, Outcome.TEACHER_FAILED), start=101):
        subject.add(Pair(seq=seq, ts=NOW, outcome=outcome))
    survivor = Pair(seq=103, ts=NOW, outcome=Outcome.OUTAGE, student=0.0, teacher=1.0)
    subject.add(survivor)
    summary = subject.summary(NOW)
    assert summary.log_e == log_e
    assert summary.outcomes == {
        "outage": 1,
        "scored": 100,
        "student_failed": 1,
        "teacher_failed": 1,
    }


def test_long_outages_block_promotion() -> None:
    subject = feed(evidence(), good(500, every_s=60.0))
    subject.exclude(START, START + 4_000.0)
    assert subject.gate(NOW).verdict == "collect"
    assert "outage windows cover" in subject.gate(NOW).reason


def test_an_outage_before_the_stage_does_not_block_its_steps() -> None:
    """After a hold of a day no student would go up for nine more days."""
    subject = feed(evidence(), good(500, every_s=60.0))
    subject.exclude(START, START + 4_000.0)
    subject.follow(replace(MARKS, guard_from=START, step_from=START + 10_000.0))
    assert subject.gate(NOW).verdict == "promote" and subject.summary(NOW).outage_share == 0.0
    subject.exclude(START + 20_000.0, START + 24_000.0)
    assert subject.gate(NOW).verdict == "collect"
    assert subject.summary(NOW).outage_share == pytest.approx(0.2)


@pytest.mark.parametrize("outcome", [Outcome.UNLABELLED, Outcome.NOT_SCORED])
def test_missing_labels_block_promotion(outcome: Outcome) -> None:
    subject = feed(evidence(), good(500))
    for seq in range(501, 541):
        subject.add(Pair(seq=seq, ts=NOW, outcome=outcome))
    assert subject.gate(NOW).verdict == "promote"
    for seq in range(541, 570):
        subject.add(Pair(seq=seq, ts=NOW, outcome=outcome))
    assert subject.gate(NOW).verdict == "collect"
    assert "label coverage 0.879 is below 0.90" in subject.gate(NOW).reason


def test_labels_that_stop_coming_show_in_the_step_though_not_in_the_whole() -> None:
    marks = replace(MARKS, guard_from=START, step_from=START + 1_000 * 60.0)
    subject = feed(evidence(marks=marks), good(1_000))
    before = subject.summary(NOW)
    assert (before.step_scored, before.step_coverage) == (0, None)
    # From here on two labels in a hundred arrive, those of easy requests.
    for seq in range(1_001, 1_101):
        lucky = seq % 50 == 0
        scores = {"student": 1.0, "teacher": 1.0, "control": 0.0} if lucky else {}
        outcome = Outcome.SCORED if lucky else Outcome.UNLABELLED
        subject.add(Pair(seq=seq, ts=START + seq * 60.0, outcome=outcome, **scores))
    summary = subject.summary(NOW)
    assert summary.gate.verdict == "promote", "a thousand good labels hide a hundred missing ones"
    assert summary.label_coverage == pytest.approx(1_002 / 1_100)
    assert (summary.step_scored, summary.step_coverage) == (2, 0.02)
    subject.follow(replace(marks, step_from=NOW))
    assert subject.summary(NOW).step_coverage is None, "another step asks for its own"


def test_a_cluster_counts_once_in_the_gate() -> None:
    template = feed(evidence(), good(300, cluster="hello"))
    assert (template.summary(NOW).n, template.summary(NOW).n_all) == (1, 300)
    distinct = feed(evidence(), good(300))
    assert distinct.summary(NOW).n == 300


def test_a_student_that_fails_on_a_template_is_not_promoted() -> None:
    """Counted once, a broken template would vanish; the view over all copies finds it."""
    subject = evidence()
    source = scores(2, student=0.95, teacher=0.92, both=0.9)
    for seq in range(1, 1_001):
        if seq % 5 < 2:
            pair = Pair(seq=seq, ts=NOW, student=0.0, teacher=1.0, control=0.0, cluster="t")
        else:
            student, teacher = next(source)
            pair = Pair(seq=seq, ts=NOW, student=student, teacher=teacher, control=0.0)
        subject.add(pair)
    summary = subject.summary(NOW)
    assert summary.passes and summary.gate.verdict == "collect"
    assert "with every repeated request counted" in summary.gate.reason
    assert "retry it" in summary.gate.reason, "it says what a person can do"


def test_the_recent_mean_must_be_positive() -> None:
    subject = feed(evidence(), good(1_500, every_s=1.0))
    for seq in range(1_501, 1_511):
        subject.add(Pair(seq=seq, ts=NOW + 30 * DAY_S, student=0.9, teacher=1.0, control=0.0))
    summary = subject.summary(NOW + 30 * DAY_S)
    assert summary.passes and summary.gate.verdict != "promote"
    assert "is not above 0" in summary.gate.reason
    assert "no pair in the last 7 days" in subject.gate(NOW + 90 * DAY_S).reason


def test_the_cap_of_pairs_and_its_extension() -> None:
    policy = Policy(gate=GatePolicy(max_pairs=200))
    source = pairs(scores(3, student=0.86, teacher=0.92), 300)
    subject = feed(evidence(policy), itertools.islice(source, 200))
    assert subject.gate(NOW).verdict == "inconclusive"
    log_e = subject.summary(NOW).log_e
    subject.follow(replace(MARKS, extensions=1))
    assert subject.gate(NOW).verdict == "collect"
    assert subject.summary(NOW).log_e == log_e


def test_the_cap_of_time() -> None:
    subject = feed(evidence(), good(20))
    assert subject.gate(START + 13.9 * DAY_S).verdict == "collect"
    verdict = subject.gate(START + 14 * DAY_S)
    assert verdict.verdict == "inconclusive" and "after 14 days" in verdict.reason


def test_both_bars_must_pass() -> None:
    policy = Policy(gate=GatePolicy(min_score=0.99))
    subject = feed(evidence(policy), good(800))
    ratio, absolute = subject.summary(NOW).forms
    assert ratio.log_e > math.log(33) > absolute.log_e
    assert subject.gate(NOW).verdict == "reject"


def test_guards_run_from_the_mark_on() -> None:
    subject = feed(evidence(), good(300))
    assert subject.guard().reason == "no guard is running yet"
    marks = replace(MARKS, guard_from=START + 300 * 60.0)
    subject.follow(marks)
    late = Pair(seq=301, ts=START + 100.0, student=0.0, teacher=1.0, control=0.0)
    subject.add(late)  # a request from before the mark
    assert subject.summary(NOW).guards[0].n == 0
    worse = pairs(scores(4, student=0.5, teacher=0.92, both=0.48), 200, start=302)
    feed(subject, worse)
    assert subject.guard().verdict == "alarm"
    assert subject.summary(NOW).guards[0].n == 200


def test_a_new_mark_restarts_the_warning() -> None:
    """A student on its way back is held to what it does from then on."""
    subject = evidence(
        Policy(guard=GuardPolicy(quality_arl=1_000.0, warn_min_pairs=200)),
        marks=replace(MARKS, guard_from=START - 1.0),
    )
    for seq in range(1, 5_000):
        student = 0.0 if seq > 400 and seq % 25 == 0 else 1.0
        subject.add(Pair(seq=seq, ts=START + seq, student=student, teacher=1.0, control=0.0))
        if subject.guard().verdict == "warn":
            break
    assert subject.guard().verdict == "warn"
    subject.follow(replace(subject.marks, warn_from=START + seq))
    assert subject.guard().verdict == "clear"


def test_guards_count_a_repeated_request_once() -> None:
    marks = replace(MARKS, guard_from=START)
    subject = evidence(marks=marks)
    for seq in range(1, 301):
        subject.add(Pair(seq=seq, ts=START + seq, student=0.0, teacher=1.0, cluster="one client"))
    assert subject.summary(NOW).guards[0].n == 1
    assert subject.guard().verdict == "clear"


def test_an_alarm_is_one_of_its_time_whatever_the_traffic_does_later() -> None:
    """The level is thirty days of pairs, and at least the policy's; it falls with the traffic."""
    policy = Policy(guard=GuardPolicy(quality_arl=1_000.0, warn_min_pairs=10**9))
    subject = evidence(policy, marks=replace(MARKS, guard_from=START - 1.0))
    seq, log_m = 0, -math.inf

    def day(number: int, pairs: int, bad: int) -> None:
        nonlocal seq, log_m
        for i in range(pairs):
            seq += 1
            ts = START + number * DAY_S + i
            student = 0.0 if i < bad else 1.0
            subject.add(Pair(seq=seq, ts=ts, student=student, teacher=1.0, control=0.0))
            log_m = max(log_m, subject.reading.log_guard or -math.inf)

    for number in range(4):
        day(number, 300, bad=10 if number == 3 else 0)
    busy = math.log(30 * 300)
    assert math.log(1_000.0) < log_m < busy, "a peak below the level of its time"
    for number in range(5, 40):
        day(number, 2, bad=0)
    (bar,) = subject.summary(NOW).guards
    assert math.log(bar.arl) < log_m, "today's level lies below that peak"
    assert subject.guard().verdict == "clear"
    assert bar.log_m is not None and bar.log_m < math.log(bar.arl)

    day(41, 40, bad=40)
    assert subject.guard().verdict == "alarm"
    alarmed = subject.guard().reason
    for number in range(42, 60):
        day(number, 2_000, bad=0)
    assert subject.guard().verdict == "alarm" and subject.guard().reason == alarmed
    text = msgspec.json.encode(subject.state())
    loaded = Evidence.restore(policy, msgspec.json.decode(text, type=EvidenceState))
    assert loaded.guard() == subject.guard() and loaded.state() == subject.state()


def test_a_return_gate_begins_at_the_warning() -> None:
    subject = feed(evidence(), good(300))
    assert not subject.summary(NOW).recovered
    subject.follow(replace(MARKS, guard_from=START, return_from=START + 300 * 60.0))
    feed(subject, pairs(scores(9, student=1.0, teacher=0.92), 99, start=301))
    assert not subject.summary(NOW).recovered
    feed(subject, pairs(scores(9, student=1.0, teacher=0.92), 101, start=400))
    assert subject.summary(NOW).recovered
    subject.follow(replace(MARKS, guard_from=START, warn_from=NOW))
    assert not subject.summary(NOW).recovered
