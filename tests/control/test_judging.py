from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from programs.errors import LoadError
from tests.control.shadow_world import LATE_LABELS, ShadowWorld, shadow_world
from tests.control.stored import STUDENT, T0, put_gold, put_trace
from tests.polling import until_async


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ShadowWorld]:
    async with shadow_world(tmp_path) as world:
        yield world


async def test_without_a_label_the_pair_is_dropped_at_its_deadline(world: ShadowWorld) -> None:
    world.configure(shadow={"sample_rate": 1.0, "label_deadline_s": 0.7})
    trace_id = put_trace(world.store, time.time())
    world.through = time.time()
    await world.draw_and_replay()
    await world.judge()
    assert [pair.outcome for pair in world.pairs] == ["pending"]
    # Late: whoever takes it would let the answer decide which pairs count.
    put_gold(world.store, trace_id, "HELLO", ts=time.time() + 1)

    deadline = time.time() + 0.7
    await until_async(lambda: time.time() > deadline, what="the deadline is over")
    await world.judge()
    assert [pair.outcome for pair in world.pairs] == ["unlabelled"]


async def test_no_deadline_has_passed_before_its_labels_were_collected(world: ShadowWorld) -> None:
    """What was said in time may still lie in the spool."""
    world.configure(shadow={"sample_rate": 1.0, "label_deadline_s": 0.7})
    asked = time.time()
    labelled, unlabelled = put_trace(world.store, asked), put_trace(world.store, asked + 0.001)
    world.through = asked + 1
    await world.draw_and_replay()
    unreplayed = put_trace(world.store, asked + 0.002)
    world.shadow.sample()
    await until_async(lambda: time.time() > asked + 0.8, what="the deadline is over")
    world.collected_to = asked + 0.5
    await world.judge()
    assert [pair.outcome for pair in world.pairs] == ["pending"] * 3
    put_gold(world.store, labelled, "HELLO", ts=asked + 0.4)
    world.collected_to = asked + 1
    await world.judge()
    assert {pair.trace_id: pair.outcome for pair in world.pairs} == {
        labelled: "scored", unlabelled: "unlabelled", unreplayed: "not_replayed",
    }  # fmt: skip


async def test_volunteered_labels_are_no_evidence(world: ShadowWorld) -> None:
    trace_id = put_trace(world.store, T0 + 1)
    put_gold(world.store, trace_id, "right", ts=T0 + 2, source="anybody")
    await world.draw_and_replay()
    await world.judge()
    assert [pair.outcome for pair in world.pairs] == ["pending"]


async def test_audit_labels_count_on_the_audit_sample_only(world: ShadowWorld) -> None:
    world.configure(feedback={"panel": "audit"}, shadow={"audit_rate": 0.05} | LATE_LABELS)
    audited = put_trace(world.store, T0 + 1, audit=True, audit_propensity=0.05, answer="x")
    put_trace(world.store, T0 + 2)
    await world.draw_and_replay()
    assert [(p.trace_id, p.propensity) for p in world.pairs] == [(audited, 0.05)]
    put_gold(world.store, audited, "x", ts=T0 + 3, source="panel")
    await world.judge()
    assert [(p.outcome, p.coverage) for p in world.pairs] == [("scored", "audit")]


async def test_a_confirmed_answer_is_the_truth_and_a_refused_one_says_none(
    world: ShadowWorld,
) -> None:
    right = put_trace(world.store, T0 + 1, answer="student: hello")
    wrong = put_trace(world.store, T0 + 2, answer="no")
    put_gold(world.store, right, ts=T0 + 3, confirmed=True)
    put_gold(world.store, wrong, ts=T0 + 3, confirmed=False)
    await world.draw_and_replay()
    world.pass_deadlines()
    await world.judge()
    assert [(p.outcome, p.teacher_score, p.student_score) for p in world.pairs] == [
        ("scored", 1.0, 1.0),
        ("no_gold", None, None),
    ]


@pytest.mark.parametrize("judged_between", [True, False])
async def test_a_refused_answer_may_be_corrected_soon(
    world: ShadowWorld, judged_between: bool
) -> None:
    """When a turn comes must not decide which pairs count."""
    trace_id = put_trace(world.store, T0 + 1, answer="no")
    await world.draw_and_replay()
    refused = time.time()
    put_gold(world.store, trace_id, ts=refused, confirmed=False)
    if judged_between:
        await world.judge()
        assert [pair.outcome for pair in world.pairs] == ["pending"]
    put_gold(world.store, trace_id, "right", ts=refused + 5)
    await world.judge()
    assert [(pair.outcome, pair.teacher_score) for pair in world.pairs] == [("scored", 0.0)]


async def test_a_confirmed_answer_of_the_student_counts_as_a_corrected_one_does(
    world: ShadowWorld,
) -> None:
    """A source that confirms what is right and corrects what is wrong leaves nothing out."""
    for second in range(1, 11):
        trace_id = put_student_served(world, second)
        wrong = second % 5 == 0
        put_gold(world.store, trace_id, "right" if wrong else None, ts=T0 + 20, confirmed=not wrong)
    world.chat.reply = lambda text, model: (200, "right")
    await world.draw_and_replay()
    await world.judge()
    assert [pair.outcome for pair in world.pairs] == ["scored"] * 10
    assert [pair.student_score for pair in world.pairs] == [1.0, 1.0, 1.0, 1.0, 0.0] * 2
    assert {pair.kind for pair in world.pairs} == {"reverse_shadow"}


def put_student_served(world: ShadowWorld, second: int, **changes: Any) -> str:
    return put_trace(
        world.store, T0 + second, answer="mine", served_by="student", student=STUDENT, **changes
    )


async def test_a_source_that_refuses_without_the_right_output_judges_no_student(
    world: ShadowWorld,
) -> None:
    """Its refusals tell no gold: the student's failures would go, its successes would stay."""
    world.configure(
        feedback={"thumbs": "all", "panel": "audit"},
        shadow={"sample_rate": 1.0, "reverse_rate": 1.0, "audit_rate": 0.1} | LATE_LABELS,
    )
    refused = put_trace(world.store, T0 + 1, answer="HELLO", served_by="teacher")
    put_gold(world.store, refused, ts=T0 + 2, source="thumbs", confirmed=False)
    by_teacher = put_trace(world.store, T0 + 3)
    confirmed, corrected, audited = (
        put_student_served(world, 4),
        put_student_served(world, 5),
        put_student_served(world, 6, audit=True, audit_propensity=0.1),
    )
    put_gold(world.store, by_teacher, ts=T0 + 7, source="thumbs", confirmed=True)
    put_gold(world.store, confirmed, ts=T0 + 7, source="thumbs", confirmed=True)
    put_gold(world.store, corrected, "right", ts=T0 + 7, source="thumbs")
    put_gold(world.store, audited, "right", ts=T0 + 7, source="panel")
    put_gold(world.store, audited, ts=T0 + 8, source="thumbs", confirmed=True)
    await world.draw_and_replay()
    world.pass_deadlines()
    await world.judge()
    found = {pair.trace_id: (pair.outcome, pair.coverage) for pair in world.pairs}
    assert found == {
        refused: ("no_gold", None),
        by_teacher: ("scored", "all"),
        confirmed: ("refusing_source", None),
        corrected: ("refusing_source", None),
        audited: ("scored", "audit"),
    }


async def test_a_source_refuses_on_its_own_route_alone(world: ShadowWorld) -> None:
    elsewhere = put_trace(world.store, T0 + 1, route="other")
    put_gold(world.store, elsewhere, ts=T0 + 2, confirmed=False)
    trace_id = put_student_served(world, 3)
    put_gold(world.store, trace_id, ts=T0 + 4, confirmed=True)
    await world.draw_and_replay()
    await world.judge()
    assert [pair.outcome for pair in world.pairs] == ["scored"]


async def test_a_metric_that_cannot_score_one_side_drops_both(world: ShadowWorld) -> None:
    (world.tmp_path / "shy_metric.py").write_text(
        "def shy(example, prediction, trace=None):\n"
        "    if prediction.answer.startswith('student'):\n"
        "        raise RuntimeError('no idea')\n"
        "    return 1.0\n"
    )
    world.configure(metric="shy_metric:shy", feedback={})
    put_trace(world.store, T0 + 1)
    await world.draw_and_replay()
    await world.judge()
    await world.measure.close()
    assert [(p.outcome, p.teacher_score) for p in world.pairs] == [("not_scored", None)]


async def test_a_metric_that_needs_no_label_does_not_wait(world: ShadowWorld) -> None:
    (world.tmp_path / "length_metric.py").write_text(
        "def short(example, prediction, trace=None):\n    return len(prediction.answer) < 8\n"
    )
    world.configure(metric="length_metric:short", feedback={})
    put_trace(world.store, T0 + 1)
    await world.draw_and_replay()
    await world.judge()
    await world.measure.close()
    (pair,) = world.pairs
    assert (pair.outcome, pair.coverage) == ("scored", "all")
    assert (pair.teacher_score, pair.student_score) == (1.0, 0.0)


async def test_a_slow_metric_decides_one_pair_a_turn_at_least(world: ShadowWorld) -> None:
    for second in (1, 2, 3):
        trace_id = put_trace(world.store, T0 + second)
        put_gold(world.store, trace_id, "HELLO", ts=T0 + 5)
    await world.draw_and_replay()
    await world.judge(turn_s=0)
    assert [pair.outcome for pair in world.pairs] == ["scored", "pending", "pending"]
    await world.judge(turn_s=0)
    assert [pair.outcome for pair in world.pairs] == ["scored", "scored", "pending"]


async def test_a_metric_at_fault_is_asked_again_though_there_is_nothing_to_score(
    world: ShadowWorld,
) -> None:
    (world.tmp_path / "fragile.py").write_text(
        "import pathlib\n"
        "pathlib.Path(__file__).with_name('weights').read_text()\n"
        "def score(example, prediction, trace=None):\n"
        "    return 1.0\n"
    )
    world.configure(metric="fragile:score")
    with pytest.raises(LoadError, match="weights"):
        await world.measure.mark([])
    with pytest.raises(LoadError, match="weights"):
        await world.judge()
    (world.tmp_path / "weights").touch()
    await world.judge()
    assert world.measure.fault is None and not world.pairs
    await world.measure.close()
