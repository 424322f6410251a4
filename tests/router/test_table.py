"""Every row of the state table, taken and refused, on real values."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from msgspec.structs import replace

from router.effects import keep
from router.errors import IllegalEvent
from router.events import COMMANDS, Event
from router.guard import CLEAR
from router.policy import DAY_S, Policy, RolloutPolicy
from router.rollout import Refusal, Transition, apply, step
from router.stages import EXPOSED, RAMP, SERVING, HeldReason, Stage
from router.state import Hold, Rollout
from router.table import ROWS, TABLE, Row, Target
from tests.router.build import ALARM, HASHES, NOW, facts, rollout, route, signal, summary

DRY = Policy(rollout=RolloutPolicy(dry_run=True))
NEWER = replace(rollout(Stage.LIVE), student="s2", k=2, live_since=NOW - 5.0)

#: What makes each condition hold, where the builders' defaults don't.
EVIDENCE: dict[str, dict[str, Any]] = {
    "gate promotes": {"gate": "promote"},
    "gate rejects": {"gate": "reject"},
    "cap reached": {"gate": "inconclusive"},
    "bar guard alarms": {"guard": "alarm"},
    "warning detector fires": {"guard": "warn"},
    "fresh gate passes": {"recovered": True},
}
FACTS: dict[str, dict[str, Any]] = {
    "model or artefact gone": {"lost": "the folder is missing"},
    "teacher, metric or bar changed": {"hashes": replace(HASHES, teacher="t2")},
    "freeze in force": {"freeze": "end of the quarter"},
    "availability alarm": {"availability": ALARM},
    "5 dwells without enough requests": {"served": 3},
}
HOLDS = tuple(Hold(NOW - 100.0 * i, 4_000) for i in range(4))
STATE: dict[str, dict[str, Any]] = {
    "availability fault": {"unhealthy_since": NOW - DAY_S},
    "unhealthy for 7 days": {"unhealthy_since": NOW - 8 * DAY_S},
    "5th hold in the window": {"holds": HOLDS},
    "READY too long": {"entered": NOW - 8 * DAY_S},
    "5 dwells without enough requests": {"entered": NOW - 30 * DAY_S},
    "held on LIVE": {"held": Stage.LIVE},
    "dry run so far": {"dry": True},
}


def arrange(row: Row, stage: Stage) -> tuple[Rollout, dict[str, Any], Policy]:
    """A rollout in ``stage``, and a signal, for which every condition of the row holds."""
    names = [condition.name for condition in row.when]
    reasons = [HeldReason(n.removeprefix("held for ")) for n in names if n.startswith("held for ")]
    fields = {key: value for name in names for key, value in STATE.get(name, {}).items()}
    subject = rollout(stage, *reasons, **fields)
    fields = {key: value for name in names for key, value in EVIDENCE.get(name, {}).items()}
    evidence = summary(**fields)
    fields = {key: value for name in names for key, value in FACTS.get(name, {}).items()}
    policy = Policy()
    if "every step needs approval" in names:
        policy = Policy(rollout=RolloutPolicy(approval="every"))
    actor = "ann" if row.event in COMMANDS else "auto"
    return subject, {"evidence": evidence, "facts": facts(**fields), "actor": actor}, policy


CASES = [
    pytest.param(row, stage, id=f"{stage.value}-{row.event.value}-{i}")
    for i, row in enumerate(ROWS)
    for stage in row.stages
]


@pytest.mark.parametrize(("row", "stage"), CASES)
def test_row(row: Row, stage: Stage) -> None:
    subject, known, policy = arrange(row, stage)
    others = (NEWER,) if "a newer student is LIVE" in [c.name for c in row.when] else ()
    before = route(subject, *others)
    outcome = step(before, signal(row.event, **known), policy)
    assert isinstance(outcome, Transition), outcome
    after = outcome.after
    assert after is not None
    if isinstance(row.to, Stage):
        assert after.stage is row.to
    elif row.to is Target.NEXT:
        assert after.stage is SERVING[SERVING.index(stage) + 1]
    elif row.to is Target.RETURN:
        assert (after.stage, after.reasons) == (subject.held, ())
    else:
        assert after.stage is stage
    assert outcome.changed == (row.effect is not keep)
    assert after.k == (before.k + 1 if row.new_k else subject.k)
    assert (after.weight > 0) <= (after.stage in EXPOSED)
    # one event, and the fold of it is the state
    event = outcome.event
    assert (event.stage_from, event.stage_to) == (stage, after.stage)
    assert (event.weight_from, event.weight_to) == (subject.weight, after.weight)
    assert apply(before, event).get("s1") == after


def falsify(name: str, known: dict[str, Any], subject: Rollout) -> tuple[Rollout, dict[str, Any]]:
    """Make one condition fail."""
    reason = name.removeprefix("held for ")
    if name.startswith("held for "):
        other = HeldReason.PAUSE if reason != "pause" else HeldReason.REPLAY
        return replace(subject, reasons=(other,)), known
    old = known["facts"]
    health = old.health
    changes: dict[str, Any] = {
        "gate promotes": {"evidence": summary(gate="collect")},
        "gate rejects": {"evidence": summary(gate="collect")},
        "cap reached": {"evidence": summary(gate="collect")},
        "bar guard alarms": {"evidence": summary()},
        "warning detector fires": {"evidence": summary()},
        "fresh gate passes": {"evidence": summary()},
        "no warning, no alarm": {"evidence": summary(guard="warn")},
        "a scored pair of this step": {"evidence": summary(step_scored=0)},
        "labels still come": {"evidence": summary(step_coverage=0.89)},
        "model or artefact gone": {"facts": replace(old, lost=None)},
        "artefact there": {"facts": replace(old, lost="deprecated")},
        "teacher, metric or bar changed": {"facts": replace(old, hashes=HASHES)},
        "teacher, metric and bar unchanged": {
            "facts": replace(old, hashes=replace(HASHES, metric="m2"))
        },
        "report is the current one": {"report": "an older one"},
        "a person, or approval = none": {"actor": "auto"},
        "no freeze": {"facts": replace(old, freeze="holidays")},
        "freeze in force": {"facts": replace(old, freeze=None)},
        "no availability alarm": {
            "facts": replace(old, health=replace(health, unreachable="connection refused"))
        },
        "availability alarm": {"facts": replace(old, health=replace(health, availability=CLEAR))},
        "healthy dwell": {"facts": replace(old, health=replace(health, healthy_since=None))},
        "served and dwell": {"facts": replace(old, health=replace(health, served=3))},
        "5 dwells without enough requests": {
            "facts": replace(old, health=replace(health, served=9_999))
        },
        "teacher's capacity": {"facts": replace(old, capacity="quota is 10 a minute")},
        "control has settled": {"facts": replace(old, control_started=NOW - 10.0), "actor": "auto"},
        "a reason": {"reason": " "},
    }
    fields: dict[str, Any] = {
        "no availability fault": {"unhealthy_since": NOW - 5.0},
        "availability fault": {"unhealthy_since": None},
        "unhealthy for 7 days": {"unhealthy_since": NOW - DAY_S},
        "5th hold in the window": {"holds": HOLDS[:3]},
        "READY too long": {"entered": NOW - DAY_S},
        "cool-down over": {"entered": NOW - 60.0},
        "held on LIVE": {"held": Stage.R5},
        "dry run so far": {"dry": False},
        "a resumable reason": {"reasons": (HeldReason.AVAILABILITY,)},
    }
    return replace(subject, **fields.get(name, {})), {**known, **changes.get(name, {})}


#: Conditions on route or policy; tests of their own below.
ELSEWHERE = {
    "route not killed",
    "no other challenger",
    "a newer student is LIVE",
    "every step needs approval",
    "one approval is enough",
    "approved, if every step needs it",
    "dry_run off",
}


@pytest.mark.parametrize(
    ("row", "name"),
    [
        pytest.param(row, c.name, id=f"{row.event.value}-{i}-{c.name}")
        for i, row in enumerate(ROWS)
        for c in row.when
        if c.name not in ELSEWHERE
    ],
)
def test_every_condition_can_refuse(row: Row, name: str) -> None:
    # The teacher's capacity matters from R25 on only.
    stage = Stage.R25 if name == "teacher's capacity" else row.stages[0]
    subject, known, policy = arrange(row, stage)
    others = (NEWER,) if "a newer student is LIVE" in [c.name for c in row.when] else ()
    subject, known = falsify(name, known, subject)
    before = route(subject, *others)
    outcome = step(before, signal(row.event, **known), policy)
    if isinstance(outcome, Transition):
        # Another row for the same event took over; it must not be this one.
        others_rows = [r for r in TABLE[stage, row.event] if r is not row]
        assert others_rows and outcome.event.stage_to is not row.to
    else:
        assert outcome.reason


def refused(before: Any, event: Event, policy: Policy | None = None, **known: Any) -> str:
    outcome = step(before, signal(event, **known), policy or Policy())
    assert isinstance(outcome, Refusal), outcome
    return outcome.reason


def test_a_killed_route_refuses_to_move() -> None:
    ready = replace(route(rollout(Stage.READY)), killed=True)
    assert "killed" in refused(ready, Event.APPROVE)
    shadow = replace(route(rollout(Stage.SHADOW)), killed=True)
    assert "killed" in refused(shadow, Event.GATE_PROMOTE)


def test_one_challenger_at_a_time() -> None:
    for other in (rollout(Stage.R25), rollout(Stage.HELD)):
        busy = route(replace(other, student="s0"), replace(rollout(Stage.READY), k=2))
        assert "one challenger at a time" in refused(busy, Event.APPROVE, evidence=summary(k=2))
    champion = replace(rollout(Stage.LIVE), student="s0")
    free = route(champion, replace(rollout(Stage.READY), k=2))
    assert isinstance(
        step(free, signal(Event.APPROVE, evidence=summary(k=2)), Policy()), Transition
    )


def test_approval_of_every_step() -> None:
    every = Policy(rollout=RolloutPolicy(approval="every"))
    at_r5 = route(rollout(Stage.R5, report="report-0"))
    reason = refused(at_r5, Event.ADVANCE, every, actor="auto")
    assert "every step needs approval" in reason
    assert "not the current one" in refused(at_r5, Event.APPROVE, every, report="old")
    approved = step(at_r5, signal(Event.APPROVE), every)
    assert isinstance(approved, Transition) and approved.after is not None
    assert approved.after.consent and approved.after.stage is Stage.R5
    moved = step(route(approved.after), signal(Event.ADVANCE, actor="auto"), every)
    assert isinstance(moved, Transition) and moved.after is not None
    assert (moved.after.stage, moved.after.consent) == (Stage.R25, False)


def test_the_report_of_the_last_step_is_no_consent_to_the_next() -> None:
    every = Policy(rollout=RolloutPolicy(approval="every"))
    again = step(route(rollout(Stage.R5, report="report-1")), signal(Event.APPROVE), every)
    assert isinstance(again, Transition) and not again.changed


def test_automation_approves_only_where_nobody_is_asked() -> None:
    ready = route(rollout(Stage.READY))
    assert "waits for a person" in refused(ready, Event.APPROVE, actor="auto")
    nobody = Policy(rollout=RolloutPolicy(approval="none"))
    outcome = step(ready, signal(Event.APPROVE, actor="auto"), nobody)
    assert isinstance(outcome, Transition)


def test_a_dry_run_moves_without_weight() -> None:
    outcome = step(route(rollout(Stage.READY)), signal(Event.APPROVE), DRY)
    assert isinstance(outcome, Transition) and outcome.after is not None
    assert (outcome.after.stage, outcome.after.weight) == (Stage.R1, 0.0)
    at_live = route(replace(outcome.after, stage=Stage.LIVE))
    assert "dry_run is on" in refused(at_live, Event.DRY_RUN_ENDED, DRY, actor="auto")
    ended = step(at_live, signal(Event.DRY_RUN_ENDED, actor="auto"), Policy())
    assert isinstance(ended, Transition) and ended.after is not None
    assert (ended.after.stage, ended.after.dry, ended.after.k) == (Stage.READY, False, 1)


@pytest.mark.parametrize("event", sorted(COMMANDS - {Event.APPROVE}))
def test_automation_never_gives_a_persons_command(event: Event) -> None:
    before = route(rollout(Stage.R5))
    with pytest.raises(IllegalEvent, match="only a person"):
        step(before, signal(event, actor="auto"), Policy())


@pytest.mark.parametrize(
    ("stage", "event"), [pair for pair in product(Stage, Event) if pair not in TABLE]
)
def test_what_is_not_in_the_table_raises_or_is_refused(stage: Stage, event: Event) -> None:
    before = route(rollout(stage))
    if event in COMMANDS:
        assert stage.value in refused(before, event)
        return
    with pytest.raises(IllegalEvent, match=stage.value):
        step(before, signal(event, actor="auto"), Policy())


def test_the_table_is_unambiguous_for_a_replay() -> None:
    """Rows that change something lead to different stages, or a fold could not tell them apart."""
    for (stage, event), rows in TABLE.items():
        ends = [row.to for row in rows if row.effect is not keep]
        assert len(ends) == len(set(ends)), (stage, event)


def test_rollback_is_reachable_from_everywhere_with_weight() -> None:
    for stage in (*EXPOSED, Stage.READY):
        for event in (Event.ROLLBACK, Event.QUALITY_ALARM):
            assert [row.to for row in TABLE[stage, event]] == [Stage.ROLLED_BACK]
    for row in TABLE[Stage.HELD, Event.ROLLBACK]:
        assert row.when == ()  # no approval, no freeze, nothing


def test_only_advance_approve_and_returns_lead_up() -> None:
    up = {
        row.event for row in ROWS if row.to is Target.NEXT or row.to in RAMP or row.to is Stage.LIVE
    }
    assert up == {Event.APPROVE, Event.ADVANCE}
