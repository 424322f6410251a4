from __future__ import annotations

import argparse
import importlib
import shlex
from typing import Literal

import msgspec
import pytest

from control.cli import COMMANDS
from control.report.model import Point
from control.report.numbers import numbers
from control.report.stored import Traffic
from control.report.verdict import caveats, commands, headline, tiles, tone
from router.evidence import Evidence
from router.pairs import Marks, Pair
from router.policy import GatePolicy, Policy
from router.stages import HeldReason, Stage
from router.state import Rollout
from router.verdicts import EvidenceSummary, GuardVerdict

POLICY = Policy()
WHY = "the reason of the newest hold"
#: of a student that has got worse
LATEST = Point(
    seq=200, ts=200.0, log_e=1.0, log_futility=0.0, log_guard=12.0, teacher=1.0, student=1.0,
    recent_teacher=0.91, recent_student=0.672,
)  # fmt: skip


def rollout(stage: Stage, **changes: object) -> Rollout:
    one = Rollout(student="s1", k=1, stage=stage, entered=0.0, why=WHY)
    return msgspec.structs.replace(one, **changes)


def traffic(served_by: str, *, p50_ms: float = 10.0, cost: float | None = 0.0) -> Traffic:
    return Traffic(
        served_by=served_by, n=5, failed=0, fallbacks=0, p50_ms=p50_ms, p95_ms=p50_ms,
        mean_cost_usd=cost, no_cost=0,
    )  # fmt: skip


def summary(policy: Policy = POLICY, *, n: int = 200, student: float = 1.0) -> EvidenceSummary:
    evidence = Evidence(policy, k=1, marks=Marks(guard_from=100.0))
    for seq in range(1, n + 1):
        evidence.add(Pair(seq=seq, ts=float(seq), teacher=1.0, student=student, control=0.0))
    return evidence.summary(float(n))


@pytest.mark.parametrize(
    ("stage", "expected_tone", "starts"),
    [
        (Stage.SHADOW, "wait", "Not proved yet; the teacher answers everything. Student >= "),
        (Stage.READY, "good", "Good enough by the bar; a person may approve it. Student >= "),
        (Stage.R1, "good", f"On trial; it is sent 1 % of the requests. {WHY.capitalize()}."),
        (Stage.R50, "good", "On trial; it is sent 50 % of the requests."),
        (Stage.LIVE, "good", "It answers all requests but the 2 % of the holdout."),
        (Stage.ROLLED_BACK, "bad", "Taken back; the teacher answers everything. The reason of"),
        (Stage.REJECTED, "bad", "Not good enough; the teacher answers everything. The reason"),
        (Stage.INCONCLUSIVE, "wait", "Not decided; a person extends the search or rejects"),
        (Stage.KILLED, "bad", "Switched off by a person; the teacher answers everything."),
    ],
)
def test_every_stage_has_a_verdict(stage: Stage, expected_tone: str, starts: str) -> None:
    one = rollout(stage)
    said = headline(one, summary(), None, POLICY.rollout)
    assert tone(one) == expected_tone
    assert said.startswith(starts)
    assert said.endswith("Over 200 pairs the student scores 1.000, the teacher 1.000.")
    nothing = headline(one, summary(n=0), None, POLICY.rollout)
    assert nothing.endswith("There is no scored pair yet.")


def test_a_hold_says_what_is_sent_meanwhile() -> None:
    warned = rollout(Stage.HELD, held=Stage.R25, reasons=(HeldReason.WARN,))
    away = rollout(Stage.HELD, held=Stage.R25, reasons=(HeldReason.AVAILABILITY,))
    assert headline(warned, summary(), None, POLICY.rollout).startswith(
        "On hold; it is sent 25 % of"
    )
    assert headline(away, summary(), None, POLICY.rollout).startswith("On hold; it is sent 0 % of")


@pytest.mark.parametrize("stage", [*Stage, None])
def test_the_commands_exist(stage: Stage | None) -> None:
    """What a report tells a person to type is what the command line takes."""
    lines = commands("greet", None if stage is None else rollout(stage))
    assert lines
    for line in lines:
        program, name, *words = shlex.split(line)
        assert program == "limbeck"
        parser = argparse.ArgumentParser(exit_on_error=False)
        importlib.import_module(COMMANDS[name].module).arguments(parser)
        assert parser.parse_args(words).route == "greet"


@pytest.mark.parametrize(
    ("bars", "says"),
    [
        ({}, ["student >= 0.950 x teacher"]),
        ({"retention": None, "min_score": 0.8}, ["student >= 0.800"]),
        ({"retention": None, "margin": 0.05}, ["student >= teacher - 0.050"]),
        ({"min_score": 0.8}, ["student >= 0.950 x teacher", "student >= 0.800"]),
    ],
)
def test_every_bar_has_its_numbers(bars: dict[str, float], says: list[str]) -> None:
    policy = Policy(gate=GatePolicy(**bars))
    rows = numbers(summary(policy), policy.gate)
    names = [row.name for row in rows]
    assert [name for name in names if name in says] == says
    assert names.count("missing pairs that would undo it") == len(says)
    assert sum(name.startswith("guard: no longer student >= ") for name in names) == len(says)
    by_name = {row.name: row for row in rows}
    assert by_name["negative control"].value == "rejected"
    assert by_name["label coverage"].value == "100 %"
    assert "rejects at 20" in by_name["not good enough"].note


def test_before_it_passes_the_pairs_still_needed_are_told() -> None:
    rows = {row.name: row for row in numbers(summary(n=30), POLICY.gate)}
    assert rows["pairs still needed"].value.startswith("about ")
    assert "missing pairs that would undo it" not in rows
    worse = {row.name for row in numbers(summary(n=30, student=0.2), POLICY.gate)}
    assert "pairs still needed" not in worse


@pytest.mark.parametrize(
    ("pairs_a_day", "value"), [(300.0, "about 0.081"), (10.0, "about 0.333"), (1.0, "none")]
)
def test_what_the_guard_would_see_at_this_traffic(pairs_a_day: float, value: str) -> None:
    one = msgspec.structs.replace(
        summary(), pairs_a_day=pairs_a_day, mean_student=0.94, mean_teacher=0.93
    )
    rows = {row.name: row for row in numbers(one, POLICY.gate)}
    drop = rows["smallest detectable drop"]
    assert drop.value == value and f"({7 * pairs_a_day:,.0f} pairs)" in drop.note


@pytest.mark.parametrize("changes", [{"pairs_a_day": 0.0}, {"guards": ()}])
def test_without_a_pace_or_a_guard_no_drop_is_named(changes: dict[str, object]) -> None:
    one = msgspec.structs.replace(summary(), **({"pairs_a_day": 300.0} | changes))
    assert "smallest detectable drop" not in {row.name for row in numbers(one, POLICY.gate)}


def test_tiles_of_a_student_without_any_traffic() -> None:
    figures = tiles(summary(), LATEST, None, None)
    assert [tile.name for tile in figures] == [
        "student's score over 200 pairs", "teacher's score over 200 pairs", "E over 200 pairs",
        "M of the guard",
    ]  # fmt: skip
    assert figures[0].value == "1.000" and figures[0].note.startswith("0.")
    assert figures[2].note == "promotes at 32.9"
    assert tiles(None, None, None, None) == []
    # Without a pair nothing is known about scores.
    assert tiles(summary(n=0), None, None, None) == []


def test_a_figure_names_one_value_and_notes_the_other() -> None:
    teacher = traffic("teacher", p50_ms=94.0, cost=None)
    both = [(t.name, t.value, t.note) for t in tiles(None, None, teacher, traffic("student"))]
    assert both == [
        ("cost of 1,000 requests by the student", "$0", "teacher: unknown"),
        ("median latency of the student", "10 ms", "teacher: 94 ms"),
    ]
    alone = [(t.name, t.note) for t in tiles(None, None, teacher, None)]
    assert alone == [
        ("cost of 1,000 requests by the teacher", ""), ("median latency of the teacher", ""),
    ]  # fmt: skip


def test_duplicates_are_noted_beside_the_pairs() -> None:
    one = summary(n=70)
    rows = {row.name: row for row in numbers(one, POLICY.gate)}
    assert (rows["scored pairs"].value, rows["scored pairs"].note) == (
        "70", "near-duplicates count once",
    )  # fmt: skip
    copies = msgspec.structs.replace(one, n_all=90)
    rows = {row.name: row for row in numbers(copies, POLICY.gate)}
    assert rows["scored pairs"].note == "near-duplicates count once: 70 count"


@pytest.mark.parametrize("verdict", ["warn", "alarm"])
@pytest.mark.parametrize(("n", "last"), [(200, 100), (60, 60)])
def test_once_the_guard_has_fired_the_latest_scores_are_told(
    verdict: Literal["warn", "alarm"], n: int, last: int
) -> None:
    """The means of all pairs still look good then."""
    fired = msgspec.structs.replace(
        summary(n=n), guard=GuardVerdict(verdict=verdict, reason="bar guard")
    )
    said = headline(rollout(Stage.ROLLED_BACK), fired, LATEST, POLICY.rollout)
    assert said.endswith(
        f"Over {n} pairs the student scores 1.000, the teacher 1.000. "
        f"Over the last {last} pairs the student scores 0.672, the teacher 0.910."
    )
    first = tiles(fired, LATEST, None, None)[0]
    assert (first.name, first.value, first.note) == (
        f"student's score over the last {last} pairs", "0.672", "teacher: 0.910",
    )  # fmt: skip


def test_caveats() -> None:
    assert caveats(None, answered=0, no_cost=0) == []
    assert len(caveats(summary(), answered=5, no_cost=0)) == 2
    assert "shows that the student was above the bar at some time" in " ".join(
        caveats(summary(), answered=5, no_cost=0)
    )
    assert "The cost of 2 of 5 answers is unknown" in caveats(None, answered=5, no_cost=2)[0]
