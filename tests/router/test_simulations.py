"""Error rates and evidence rules by simulation: seeded, short, with the product's own code."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from router.bets import Bets
from router.evidence import Evidence
from router.forms import Form
from router.gate import Gate
from router.pairs import Coverage, Marks, Outcome, Pair
from router.policy import GatePolicy, Policy
from tests.router.build import NOW, POLICY, scores

R = 0.95
#: Every candidate at the full alpha, so that the bound is tight enough to be tested.
ALPHA = 0.05
RUNS = 300


def first_verdict(source: Iterator[tuple[float, float]], n: int = 1_000) -> str:
    gate = Gate(Form("retention", R), alpha=ALPHA, policy=GatePolicy())
    for _ in range(n):
        gate.add(*next(source))
        if gate.passes or gate.fails:
            return "promote" if gate.passes else "reject"
    return "collect"


@pytest.mark.parametrize(
    ("student", "teacher", "both"),
    [(R * 0.92, 0.92, None), (R * 0.92, 0.92, 0.85), (0.95, 1.0, None), (0.57, 0.60, None)],
)
def test_false_promotions_at_the_bar(student: float, teacher: float, both: float | None) -> None:
    promoted = sum(
        first_verdict(scores(seed, student=student, teacher=teacher, both=both)) == "promote"
        for seed in range(RUNS)
    )
    # 300 runs at the bound itself would give 15 +- 4.
    assert promoted / RUNS <= ALPHA


def test_a_good_student_is_promoted_and_a_bad_one_rejected() -> None:
    good = [first_verdict(scores(s, student=0.92, teacher=0.92, both=0.89)) for s in range(40)]
    bad = [first_verdict(scores(s, student=0.80, teacher=0.92, both=0.77)) for s in range(40)]
    assert good.count("promote") == 40
    assert bad.count("reject") >= 39 and "promote" not in bad


def test_false_alarms_at_the_bar() -> None:
    """P(alarm within n) <= n / A, for a student exactly at the bar."""
    arl, n, runs = 2_000, 400, 200
    alarms = 0
    for seed in range(runs):
        guard = Bets(1.0, restart=True)
        source = scores(seed, student=R * 0.92, teacher=0.92, both=0.85)
        for _ in range(n):
            student, teacher = next(source)
            guard.update(R * teacher - student)
        alarms += guard.log_max >= math.log(arl)
    assert alarms / runs <= n / arl


def gathered(pairs: Iterator[Pair], n: int, policy: Policy = POLICY) -> tuple[str, Evidence]:
    """Feed up to ``n`` pairs, with a look every 25; the first verdict that is not collect."""
    evidence = Evidence(policy, k=1, marks=Marks(cap_from=NOW))
    for i in range(n):
        evidence.add(next(pairs))
        if i % 25 == 24:
            verdict = evidence.gate(NOW).verdict
            if verdict != "collect":
                return verdict, evidence
    return "collect", evidence


def stream(
    seed: int, source: Iterator[tuple[float, float]], control: float = 0.1
) -> Iterator[Pair]:
    rng = random.Random(seed + 10_000)
    for seq, (student, teacher) in enumerate(source, start=1):
        yield Pair(
            seq=seq,
            ts=NOW - 1_000.0,
            student=student,
            teacher=teacher,
            control=float(rng.random() < control),
        )


def test_volunteered_labels_would_promote_a_bad_student_so_they_are_refused() -> None:
    # Of teacher .83 and student .30, the labelled part shows a teacher who is mostly wrong.
    labelled = stream(1, scores(1, student=0.30, teacher=0.14), control=0.0)
    assert gathered(labelled, 400)[0] == "promote"
    volunteered = (replace(p, coverage=Coverage.VOLUNTEERED) for p in labelled)
    with pytest.raises(ValueError, match="volunteered"):
        gathered(volunteered, 1)
    audited = stream(1, scores(1, student=0.30, teacher=0.83))
    assert gathered(audited, 400)[0] == "reject"


def test_a_metric_that_cannot_fail_is_blocked_and_a_real_one_is_not() -> None:
    perfect = scores(2, student=1.0, teacher=1.0)
    assert gathered(stream(2, perfect, control=1.0), 600)[0] == "collect"
    for seed in range(5):
        real = scores(seed, student=0.94, teacher=0.92, both=0.9)
        assert gathered(stream(seed, real), 1_500)[0] == "promote"


def down(pairs: Iterator[Pair], outcome: Outcome | None) -> Iterator[Pair]:
    """An outage of the student: 60 of every 1,000 pairs. None: counted as a score of 0."""
    for pair in pairs:
        if 200 <= pair.seq % 1_000 < 260:
            pair = replace(pair, student=0.0) if outcome is None else replace(pair, outcome=outcome)
        yield pair


def test_outages_scored_as_zero_would_reject_a_good_student() -> None:
    wrong, right = [], []
    for seed in range(8):
        good = stream(seed, scores(seed, student=0.91, teacher=0.92, both=0.88))
        wrong.append(gathered(down(good, None), 3_000)[0])
        good = stream(seed, scores(seed, student=0.91, teacher=0.92, both=0.88))
        right.append(gathered(down(good, Outcome.OUTAGE), 3_000)[0])
    assert wrong.count("promote") <= 2
    assert right.count("promote") >= 7


def templated(seed: int, on_template: float) -> Iterator[Pair]:
    """60 % of the traffic is one template; the rest is at the bar, or good."""
    rng = random.Random(seed)
    rest = scores(seed, student=R * 0.92, teacher=0.92, both=0.85)
    good = scores(seed, student=0.94, teacher=0.92, both=0.9)
    seq = 0
    while True:
        seq += 1
        if rng.random() < 0.6:
            yield Pair(
                seq=seq, ts=NOW - 1.0, student=on_template, teacher=1.0, control=0.0, cluster="t"
            )
            continue
        student, teacher = next(rest if on_template else good)
        yield Pair(seq=seq, ts=NOW - 1.0, student=student, teacher=teacher, control=0.0)


def test_copies_neither_promote_nor_hide() -> None:
    def naive(pair: Pair) -> Pair:
        return replace(pair, cluster=None)

    right_on_it = [gathered(map(naive, templated(s, 1.0)), 2_500)[0] for s in range(4)]
    assert right_on_it == ["promote"] * 4  # all copies: the template carries it
    assert "promote" not in [gathered(templated(s, 1.0), 2_500)[0] for s in range(4)]
    assert "promote" not in [gathered(templated(s, 0.0), 1_500)[0] for s in range(4)]


@pytest.mark.parametrize("by_class", [False, True])
def test_labels_that_are_missing_on_hard_inputs_block_promotion(by_class: bool) -> None:
    """A student at the bar, whose hard inputs are labelled less often, looks good."""
    rng = random.Random(4)

    def pairs() -> Iterator[Pair]:
        seq = 0
        while True:
            seq += 1
            hard = rng.random() < 0.25
            teacher = float(rng.random() < (0.75 if hard else 0.96))
            student = float(rng.random() < (0.60 if hard else 0.9495))
            if hard if by_class else rng.random() < 0.25:
                yield Pair(seq=seq, ts=NOW - 1.0, outcome=Outcome.UNLABELLED)
            else:
                yield Pair(seq=seq, ts=NOW - 1.0, student=student, teacher=teacher, control=0.0)

    verdict, evidence = gathered(pairs(), 2_000)
    assert verdict == "collect"
    assert "label coverage" in evidence.gate(NOW).reason
