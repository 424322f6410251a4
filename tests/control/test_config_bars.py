"""The bars of the gate, from the file to the evidence that they are for."""

from __future__ import annotations

import pytest

from router.evidence import Evidence
from router.pairs import Marks, Pair
from tests.control.configs import PLAIN, config_of


@pytest.mark.parametrize(
    ("rollout", "forms"),
    [
        ("", (0.95, None, None)),
        ("min_score = 0.8", (None, 0.8, None)),
        ("margin = 0.02", (None, None, 0.02)),
        ("retention = 0.9\nmin_score = 0.8", (0.9, 0.8, None)),
    ],
)
def test_a_bar_replaces_the_default_bar(
    rollout: str, forms: tuple[float | None, float | None, float | None]
) -> None:
    gate = config_of(f"{PLAIN}\n[routes.triage.rollout]\n{rollout}").routes["triage"].policy.gate
    assert (gate.retention, gate.min_score, gate.margin) == forms


@pytest.mark.parametrize(
    "bar",
    [
        "retention = 1",
        "retention = 1e-6",
        "min_score = 0.999999",
        "min_score = 1e-6",
        "margin = 0.999999",
        "margin = 1e-6",
    ],
)
def test_every_bar_that_is_accepted_can_run(bar: str) -> None:
    policy = config_of(f"{PLAIN}\n[routes.triage.rollout]\n{bar}").routes["triage"].policy
    evidence = Evidence(policy, k=1, marks=Marks(guard_from=0.0))
    for seq, (student, teacher) in enumerate([(1.0, 1.0), (0.0, 1.0), (1.0, 0.0)] * 40, start=1):
        evidence.add(Pair(seq=seq, ts=seq, student=student, teacher=teacher, control=0.0))
    assert evidence.summary(200.0).n == 120
