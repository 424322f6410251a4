from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from distiller.choice import choose
from distiller.dataset.values import Row, Source, Split
from distiller.exam import (
    TEACHER,
    Answered,
    ExamResult,
    Failed,
    Scored,
    ToScore,
    differences,
    examine_teacher,
    mark,
)
from distiller.sitting import Sitting


def rows(n: int) -> list[Row]:
    return [
        Row(
            trace_id=f"t{number:04d}",
            predictor="answer",
            split=Split.EXAM,
            source=Source.GOLD,
            inputs={"text": f"question {number}"},
            outputs={"answer": "a"},
            gold='"a"',
            request='{"messages": []}',
            answer="a" if number % 5 else "b",
        )
        for number in range(n)
    ]


async def exact(asked: Sequence[ToScore]) -> list[Scored]:
    return [
        Scored(not_scored="the metric raised")
        if one.answer == "odd"
        else Scored(score=float(f'"{one.answer}"' == one.gold))
        for one in asked
    ]


def right(row: Row) -> Answered | Failed:
    return Answered(text="a", cost_usd=0.25)


async def test_failures_are_no_zeros_and_unanswered_rows_are_no_failures() -> None:
    def reply(row: Row) -> Answered | Failed:
        number = int(row.trace_id[1:])
        if number < 3:
            return Failed(reason="status 502")
        if number == 3:
            return Failed(reason="connect", unreachable=True)
        text = "odd" if number == 4 else "a" if number % 2 else "b"
        return Answered(text=text, cost_usd=0.25)

    replies = {row.trace_id: reply(row) for row in rows(20)}
    result = await mark("s1-aaaa", rows(21), replies, exact, trainer="classifier")
    assert result.failures == {"status 502": 3}
    assert result.unanswered == {"connect": 1, "not asked, as nobody answered before": 1}
    assert result.not_scored == {"the metric raised": 1}
    assert (result.n, result.score) == (15, 8 / 15)
    assert (result.failure_share, result.not_scored_share) == (3 / 19, 1 / 16)
    assert result.unanswered_share == 2 / 21
    assert result.cost_usd == 16 * 0.25


async def test_one_answer_of_unknown_cost_makes_the_sum_unknown() -> None:
    replies = {row.trace_id: right(row) for row in rows(5)}
    replies["t0003"] = Answered(text="a", cost_usd=None)
    assert (await mark("s1-aaaa", rows(5), replies, exact)).cost_usd is None


async def test_at_most_so_many_are_asked_at_once() -> None:
    running, most = 0, 0

    async def ask(row: Row) -> Answered | Failed:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return right(row)

    sitting = Sitting("s1-aaaa")
    await sitting.ask(rows(30), ask, concurrency=3, now=1.0)
    assert (most, sitting.waiting(rows(30)), len(sitting.replies)) == (3, [], 30)


async def test_a_try_ends_where_nobody_is_there_and_the_next_one_goes_on() -> None:
    asked: list[str] = []
    there = False

    async def ask(row: Row) -> Answered | Failed:
        asked.append(row.trace_id)
        if there or len(asked) <= 10:
            return right(row)
        return Failed(reason="timeout", unreachable=True)

    sitting = Sitting("s1-aaaa")
    await sitting.ask(rows(100), ask, concurrency=1, now=1.0)
    assert (len(asked), sitting.vain_since) == (30, None)
    await sitting.ask(rows(100), ask, concurrency=1, now=2.0)
    await sitting.ask(rows(100), ask, concurrency=1, now=3.0)
    assert (len(asked), sitting.vain_since) == (70, 2.0)
    there = True
    await sitting.ask(rows(100), ask, concurrency=1, now=4.0)
    assert (sitting.waiting(rows(100)), sitting.vain_since) == ([], None)
    assert len(asked) == 70 + 90


async def test_the_teachers_recorded_answers_are_scored_on_the_same_rows() -> None:
    result = await examine_teacher(rows(250), exact)
    assert (result.candidate, result.n, result.score) == (TEACHER, 250, 0.8)
    summary = result.summary(result)
    assert summary.method == "wilson"
    assert summary.low < 0.8 < summary.high


def result(
    candidate: str, scores: str, *, failed: int = 0, trainer: str | None = None
) -> ExamResult:
    """``scores``: one character a row, 1 right, 0 wrong."""
    return ExamResult(
        candidate=candidate,
        trainer=trainer,
        rows=len(scores) + failed,
        scores={f"t{number:04d}": float(mark) for number, mark in enumerate(scores)},
        failures={"status 502": failed} if failed else {},
    )


TAUGHT = result(TEACHER, "1" * 83 + "0" * 17)
CHEAP = result("s1-aaaa", "1" * 84 + "0" * 16, trainer="classifier")
BETTER = result("s2-bbbb", "1" * 95 + "0" * 5, trainer="embedded")
CLOSE = result("s2-bbbb", "0" + "1" * 84 + "0" * 15, trainer="embedded")
BEST_BY_ONE = result("s2-bbbb", "01" + "1" * 84 + "0" * 14, trainer="embedded")
WORSE = result("s2-bbbb", "1" * 60 + "0" * 40, trainer="embedded")
#: the 70 hard rows made the metric raise
LUCKY = msgspec.structs.replace(
    result("s2-bbbb", "1" * 30, trainer="embedded"),
    rows=100,
    not_scored={"it ended": 1, "KeyError: 'category'": 69},
)
#: no worse than the teacher's answers by more than 5 points
HARD = msgspec.structs.replace(
    result("s2-bbbb", "1" * 95, trainer="embedded"), rows=100, not_scored={"KeyError": 5}
)
SILENT = msgspec.structs.replace(
    result("s2-bbbb", "1" * 90, trainer="embedded"),
    rows=100,
    unanswered={"timeout": 9, "connect": 1},
)
BROKEN = result("s2-bbbb", "1" * 50, failed=50, trainer="embedded")
EMPTY = ExamResult(candidate="s2-bbbb", rows=10, scores={}, not_scored={"no metric": 10})


@pytest.mark.parametrize(
    ("results", "previous", "chosen", "said"),
    [
        ([CHEAP], None, "s1-aaaa", "teacher 0.830"),
        ([CHEAP, BETTER], None, "s2-bbbb", "s2-bbbb (embedded) 0.950 on 100 rows"),
        ([CHEAP, CLOSE], None, "s1-aaaa", "beside: s2-bbbb (embedded) 0.840"),
        ([CHEAP, BEST_BY_ONE], None, "s1-aaaa", "ties with s2-bbbb (embedded) 0.850"),
        ([CHEAP, WORSE], None, "s1-aaaa", "beside: s2-bbbb (embedded) 0.600"),
        (
            [CHEAP, BROKEN],
            None,
            "s1-aaaa",
            "50.0% of its answers were unusable, mostly: status 502",
        ),
        ([CHEAP, LUCKY], None, "s1-aaaa", "70.0% of its answers could not be scored"),
        ([CHEAP, LUCKY], None, "s1-aaaa", "teacher's 0.0%, mostly: KeyError: 'category'"),
        ([CHEAP, HARD], None, "s2-bbbb", "s2-bbbb (embedded) 1.000 on 95 of 100 rows"),
        ([CHEAP, SILENT], None, "s1-aaaa", "10.0% of the rows were not answered, mostly: timeout"),
        ([CHEAP, EMPTY], None, "s1-aaaa", "nothing could be scored (no metric)"),
        ([CHEAP], result("s0-0000", "1" * 85 + "0" * 15), "s1-aaaa", "not worse than the previous"),
        ([CHEAP], result("s0-0000", "1" * 99 + "0"), None, "the previous student is better"),
        ([CHEAP], result("s0-0000", "", failed=9), "s1-aaaa", "selects"),
        ([BROKEN], None, None, "unusable"),
        ([EMPTY], None, None, "nothing could be scored"),
        ([], None, None, "no candidate"),
    ],
)
def test_the_choice(
    results: list[ExamResult], previous: ExamResult | None, chosen: str | None, said: str
) -> None:
    choice = choose(results, teacher=TAUGHT, previous=previous)
    assert choice.candidate == chosen, choice.reason
    assert said in choice.reason
    if chosen:
        assert choice.reason.endswith("it proves nothing: the gate decides on newer requests.")


def test_the_previous_student_is_compared_on_common_rows_alone() -> None:
    half = msgspec.structs.replace(
        TAUGHT, candidate="s0-0000", scores={k: 1.0 for k in list(TAUGHT.scores)[:50]}
    )
    assert differences(CHEAP, half) == [0.0] * 50
    assert choose([CHEAP], teacher=TAUGHT, previous=half).candidate == "s1-aaaa"


def test_a_metric_that_raises_on_the_teachers_answers_too_is_no_fault_of_the_candidate() -> None:
    teacher = msgspec.structs.replace(
        result(TEACHER, "1" * 30), rows=100, not_scored={"KeyError": 70}
    )
    assert choose([LUCKY], teacher=teacher, previous=None).candidate == "s2-bbbb"


@pytest.mark.parametrize(
    ("previous", "said"),
    [
        (result("s1-aaaa", ""), "it has learnt from all exam rows, or from near ones"),
        (result("s1-aaaa", "", failed=4), "none of its answers could be scored"),
    ],
)
def test_without_a_fair_comparison_with_the_previous_student_the_reason_says_so(
    previous: ExamResult, said: str
) -> None:
    choice = choose([result("s2-bbbb", "1111")], teacher=result(TEACHER, "1111"), previous=previous)
    assert choice.candidate == "s2-bbbb"
    assert f"not compared with the previous student s1-aaaa: {said}" in choice.reason
