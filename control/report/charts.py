"""The four plots of a report. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from control.report import words
from control.report.chart import line_chart
from control.report.frame import Axis, Level, Mark, Series, Size
from control.report.model import RECENT, Point, ReportBody
from control.report.ticks import log_ticks, time_ticks

_TEACHER, _STUDENT, _GATE, _FUTILITY, _BAR = "#0369a1", "#15803d", "#6d28d9", "#78716c", "#9a3412"
#: a span of time above this is labelled with days
_DAY_S = 86_400.0
#: the first averages jump and say nothing: they are left out once there are many points
_UNSETTLED, _MANY = 20, 100


class Charts(NamedTuple):
    """Markup of the plots."""

    gate: str
    scores: str
    guard: str
    share: str


def charts(body: ReportBody, size: Size) -> Charts:
    """Draw a report's history."""
    return Charts(
        gate=_gate(body, size),
        scores=_scores(body, size),
        guard=_guard(body, size),
        share=_share(body, size),
    )


def _gate(body: ReportBody, size: Size) -> str:
    points = body.history
    levels = []
    if body.log_threshold is not None:
        name = f"promotes: E {words.e_value(body.log_threshold)}"
        levels.append(Level(name=name, y=body.log_threshold, colour=_BAR))
    return line_chart(
        [
            Series(name="good enough", colour=_GATE, points=[(p.seq, p.log_e) for p in points]),
            Series(
                name="not good enough", colour=_FUTILITY,
                points=[(p.seq, p.log_futility) for p in points],
            ),
        ],
        x=_pairs(points), y=_bets("E"), levels=levels, marks=_marks_by_pair(body), size=size,
    )  # fmt: skip


def _scores(body: ReportBody, size: Size) -> str:
    points = body.history[_UNSETTLED:] if len(body.history) >= _MANY else body.history
    series = [
        Series(
            name="teacher, all pairs so far", colour=_TEACHER, thin=True,
            points=[(p.seq, p.teacher) for p in points],
        ),
        Series(
            name="student, all pairs so far", colour=_STUDENT, thin=True,
            points=[(p.seq, p.student) for p in points],
        ),
        Series(
            name="teacher", colour=_TEACHER, points=[(p.seq, p.recent_teacher) for p in points]
        ),
        Series(
            name="student", colour=_STUDENT, points=[(p.seq, p.recent_student) for p in points]
        ),
    ]  # fmt: skip
    series += [
        Series(
            name=f"bar: {name}", colour=_BAR, dashed=True,
            points=[(p.seq, line(p.recent_teacher)) for p in points],
        )
        for name, line in _bars(body)
    ]  # fmt: skip
    return line_chart(
        series, x=_pairs(body.history), y=Axis(name=f"mean score of the last {RECENT} pairs"),
        marks=_marks_by_pair(body), size=size,
    )  # fmt: skip


def _bars(body: ReportBody) -> Iterator[tuple[str, Callable[[float], float]]]:
    """Each bar, and the score that it asks for beside a score of the teacher."""
    retention, least, margin = body.retention, body.min_score, body.margin
    if retention is not None:
        yield f"{retention:g} x teacher", lambda teacher: retention * teacher
    if least is not None:
        yield f"{least:g}", lambda _: least
    if margin is not None:
        yield f"teacher - {margin:g}", lambda teacher: teacher - margin


def _guard(body: ReportBody, size: Size) -> str:
    levels = []
    line = [(p.seq, p.log_guard) for p in body.history]
    if body.log_alarm is not None and any(y is not None for _, y in line):
        name = f"rolls back: M {words.e_value(body.log_alarm)}"
        levels.append(Level(name=name, y=body.log_alarm, colour=_BAR))
    return line_chart(
        [Series(name="guard", colour=_STUDENT, points=line)],
        x=_pairs(body.history), y=_bets("M"), levels=levels, marks=_marks_by_pair(body),
        size=size,
    )  # fmt: skip


def _share(body: ReportBody, size: Size) -> str:
    shares = [(s.at, s.by_student / s.n) for s in body.shares if s.n]
    if len(shares) > 1:
        # A slice is named by its start; the last one has its length too.
        shares.append((2 * shares[-1][0] - shares[-2][0], shares[-1][1]))
    long = bool(shares) and shares[-1][0] - shares[0][0] > 2 * _DAY_S
    clock = "%m-%d" if long else "%H:%M:%S"
    return line_chart(
        [Series(name="student", colour=_STUDENT, points=shares, steps=True)],
        x=Axis(
            name="time (UTC)", ticks=time_ticks,
            text=lambda at: datetime.fromtimestamp(at, tz=UTC).strftime(clock),
        ),
        y=Axis(name="share", text=lambda share: f"{share:.0%}", least=0.0, most=1.0),
        marks=[Mark(name=name, x=at) for at, name in body.marks], size=size,
    )  # fmt: skip


def _bets(name: str) -> Axis:
    """Of logarithms, labelled with what the tiles and tables say: the values themselves."""
    return Axis(
        name=f"{name}, log scale",
        ticks=log_ticks,
        text=lambda log: words.e_value(log).removesuffix(".0"),
    )


def _pairs(points: Sequence[Point]) -> Axis:
    """One axis for all plots over pairs, so that they stand exactly above each other."""
    ends = (points[0].seq, points[-1].seq) if points else (None, None)
    return Axis(name="pairs, in request order", least=ends[0], most=ends[1])


def _marks_by_pair(body: ReportBody) -> list[Mark]:
    """Each transition at the last pair before it."""
    marks = []
    for at, name in body.marks:
        before = [p.seq for p in body.history if p.ts <= at]
        if before:
            marks.append(Mark(name=name, x=float(before[-1])))
    return marks
