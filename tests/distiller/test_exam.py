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
    examine,
    examine_teacher,
)


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


async def test_a_candidate_is_asked_every_row_and_failures_are_no_zeros() -> None:
    async def ask(row: Row) -> Answered | Failed:
        number = int(row.trace_id[1:])
        if number < 3:
            return Failed(reason="timeout")
        if number == 3:
            return Failed(reason="connect", unreachable=True)
        text = "odd" if number == 4 else "a" if number % 2 else "b"
        return Answered(text=text, cost_usd=0.25)

    result = await examine("s1-aaaa", rows(20), ask, exact, trainer="classifier")
    assert result.failures == {"timeout": 3, "connect": 1}
    assert result.unreachable == 1
    assert result.not_scored == {"the metric raised": 1}
    assert (result.n, result.score) == (15, 8 / 15)
    assert result.failure_share == 0.2
    assert result.cost_usd == 16 * 0.25


async def test_one_answer_of_unknown_cost_makes_the_sum_unknown() -> None:
    async def ask(row: Row) -> Answered | Failed:
        return Answered(text="a", cost_usd=None if row.trace_id == "t0003" else 0.25)

    assert (await examine("s1-aaaa", rows(5), ask, exact)).cost_usd is None


async def test_at_most_so_many_are_asked_at_once() -> None:
    running, most = 0, 0

    async def ask(row: Row) -> Answered | Failed:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return Answered(text="a", cost_usd=0.0)

    result = await examine("s1-aaaa", rows(30), ask, exact, concurrency=3)
    assert (most, result.score) == (3, 1.0)


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
        failures={"timeout": failed} if failed else {},
    )


TAUGHT = result(TEACHER, "1" * 83 + "0" * 17)
CHEAP = result("s1-aaaa", "1" * 84 + "0" * 16, trainer="classifier")
BETTER = result("s2-bbbb", "1" * 95 + "0" * 5, trainer="embedded")
CLOSE = result("s2-bbbb", "0" + "1" * 84 + "0" * 15, trainer="embedded")
BEST_BY_ONE = result("s2-bbbb", "01" + "1" * 84 + "0" * 14, trainer="embedded")
WORSE = result("s2-bbbb", "1" * 60 + "0" * 40, trainer="embedded")
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
        ([CHEAP, BROKEN], None, "s1-aaaa", "50.0% of its answers were unusable, mostly: timeout"),
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
