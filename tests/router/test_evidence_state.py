"""The state of the evidence: saved and loaded in the middle, and replayed from its pairs."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from router.errors import EvidenceError
from router.evidence import Evidence, EvidenceState
from router.pairs import Outcome, Pair
from router.policy import GatePolicy, GuardPolicy, Policy
from tests.router.build import NOW, POLICY, scores
from tests.router.test_evidence import MARKS, START, evidence, feed, good


def mixed(n: int, start: int = 1) -> list[Pair]:
    """Pairs of all kinds: clusters, dropped ones, weights."""
    source = scores(5, student=0.9, teacher=0.92, both=0.87)
    result = []
    for seq in range(start, start + n):
        student, teacher = next(source)
        if seq % 17 == 0:
            result.append(Pair(seq=seq, ts=START + seq * 600.0, outcome=Outcome.UNLABELLED))
            continue
        result.append(
            Pair(
                seq=seq,
                ts=START + seq * 600.0,
                student=student,
                teacher=teacher,
                control=float(seq % 5 == 0),
                weight=1.0 if seq % 3 else 0.5,
                cluster=f"c{seq % 40}" if seq % 2 else None,
            )
        )
    return result


POLICIES = [
    POLICY,
    Policy(gate=GatePolicy(min_score=0.8, margin=0.05), guard=GuardPolicy(warn_min_pairs=50)),
]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("cut", [0, 1, 137, 599])
def test_save_and_load_mid_stream_is_exact(policy: Policy, cut: int) -> None:
    marks = replace(
        MARKS,
        step_from=START + 60_000.0,
        guard_from=START + 3_000.0,
        return_from=START + 30_000.0,
    )
    stream = mixed(600)
    whole = evidence(policy, marks=marks)
    whole.exclude(START + 9_000.0, START + 12_000.0)
    first = evidence(policy, marks=marks)
    first.exclude(START + 9_000.0, START + 12_000.0)
    feed(whole, stream)
    feed(first, stream[:cut])
    text = msgspec.json.encode(first.state())
    loaded = Evidence.restore(policy, msgspec.json.decode(text, type=EvidenceState))
    feed(loaded, stream[cut:])
    assert loaded.state() == whole.state()
    assert loaded.summary(NOW) == whole.summary(NOW)


def test_a_replay_with_the_newest_marks_gives_the_live_state() -> None:
    policy = POLICIES[1]
    stream = mixed(600)
    at = [START + seq * 600.0 for seq in (200, 400, 450)]
    live = evidence(policy)
    for pair in stream:
        live.add(pair)
        if pair.seq == 200:
            live.follow(replace(MARKS, guard_from=at[0]))
        if pair.seq == 400:
            live.follow(replace(MARKS, guard_from=at[0], return_from=at[1]))
        if pair.seq == 450:
            live.follow(replace(MARKS, guard_from=at[0], warn_from=at[2], step_from=at[2]))
    replayed = feed(evidence(policy, marks=live.marks), stream)
    assert replayed.state() == live.state()


def test_a_state_for_other_bars_is_refused() -> None:
    state = feed(evidence(), good(10)).state()
    with pytest.raises(EvidenceError, match="another bar needs fresh evidence"):
        Evidence.restore(Policy(gate=GatePolicy(retention=0.9)), state)
