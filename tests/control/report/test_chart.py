from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.report.chart import line_chart
from control.report.frame import NARROW, WIDE, Axis, Level, Mark, Series, Size
from control.report.thinning import thinned
from control.report.ticks import log_ticks, ticks, time_ticks
from tests.control.report.page import Page

_X, _Y = Axis(name="pairs"), Axis(name="E")
_FINITE = st.floats(-1e9, 1e9)
_ANY = st.none() | st.floats()


def chart(points: list[tuple[float, float | None]], **more: object) -> str:
    return line_chart([Series(name="line", colour="#000", points=points)], x=_X, y=_Y, **more)  # type: ignore[arg-type]


def path_of(svg: str) -> str:
    found = re.search(r'<path d="([^"]*)"', svg)
    assert found
    return found[1]


@pytest.mark.parametrize("points", [[], [(1.0, None)], [(1.0, math.nan), (2.0, math.inf)]])
def test_without_a_number_there_is_no_chart(points: list[tuple[float, float | None]]) -> None:
    assert chart(points) == '<p class="none">No data yet.</p>'
    assert line_chart([], x=_X, y=_Y, levels=[Level(name="bar", y=1.0)]) == chart([])


def test_one_point_is_a_dot() -> None:
    svg = chart([(3.0, 5.0)])
    assert re.fullmatch(r"M[\d.]+ [\d.]+", path_of(svg))
    assert 'stroke-linecap="round"' in svg


def test_a_gap_breaks_the_line() -> None:
    svg = chart([(0.0, 1.0), (1.0, 2.0), (2.0, None), (3.0, math.nan), (4.0, 1.0), (5.0, 2.0)])
    assert re.sub(r"[\d. ]", "", path_of(svg)) == "MLML"


def test_steps_hold_their_value() -> None:
    series = Series(name="share", colour="#000", points=[(0.0, 0.0), (1.0, 1.0)], steps=True)
    path = path_of(line_chart([series], x=_X, y=_Y))
    (_, y0), (x1, y1), (x2, y2) = [
        tuple(map(float, place.split())) for place in re.split("[ML]", path)[1:]
    ]
    assert (y0, x1) == (y1, x2)
    assert y2 < y1


@pytest.mark.parametrize("size", [WIDE, NARROW])
@given(
    st.lists(st.tuples(_FINITE, _ANY), max_size=40).map(lambda points: sorted(points, key=_first)),
    st.lists(_FINITE, max_size=3),
    st.lists(_FINITE, max_size=12),
)
def test_whatever_the_values_every_place_is_inside(
    size: Size,
    points: list[tuple[float, float | None]],
    levels: list[float],
    marks: list[float],
) -> None:
    svg = chart(
        points,
        size=size,
        levels=[Level(name="bar", y=y) for y in levels],
        marks=[Mark(name=f"R{n}", x=x) for n, x in enumerate(sorted(marks))],
    )
    assert "nan" not in svg and "inf" not in svg
    page = Page(svg)
    if "svg" not in page.tags:
        return
    height = float(dict(page.attributes)["viewbox"].split()[3])
    for name, limit in (("x", size.width), ("y", height)):
        for key, value in page.attributes:
            if key in (name, f"{name}1", f"{name}2"):
                assert 0 <= float(value) <= limit
    for place in re.findall(r"[ML]([\d.-]+) ([\d.-]+)", path_of(svg)):
        assert 0 <= float(place[0]) <= size.width and 0 <= float(place[1]) <= height


def test_text_is_escaped() -> None:
    evil = '<script>"&'
    series = Series(name=evil, colour="#000", points=[(0.0, 0.0), (1.0, 1.0)])
    svg = line_chart(
        [series], x=Axis(name=evil, text=lambda _: evil), y=Axis(name=evil),
        levels=[Level(name=evil, y=0.5)], marks=[Mark(name=evil, x=0.5)],
    )  # fmt: skip
    assert "<script" not in svg
    page = Page(svg)
    assert page.text.count(evil) >= 6
    assert dict(page.attributes)["aria-label"] == f"{evil} over {evil}"


def test_both_axes_are_named() -> None:
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", chart([(0.0, 0.0), (1.0, 1.0)]))
    assert _X.name in texts and _Y.name in texts


def test_names_of_marks_do_not_overlap() -> None:
    names = ["SHADOW", "READY", "R1", "R5", "R25", "R50", "LIVE", "ROLLED_BACK"]
    marks = [Mark(name=name, x=50.0 + n * 2) for n, name in enumerate(names)]
    svg = chart([(0.0, 0.0), (100.0, 1.0)], marks=marks)
    shown = re.findall(
        r'<text class="mark" x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)">(\w+)<', svg
    )
    assert len(shown) >= 6
    spans = []
    for x, y, anchor, name in shown:
        left = float(x) - (6 * len(name) if anchor == "end" else 0)
        spans.append((y, left, left + 6 * len(name)))
    for n, (row, left, right) in enumerate(spans):
        for other, start, end in spans[:n]:
            assert row != other or right <= start or end <= left
    # What has no room keeps its line, and its name as a title.
    assert all(f"<title>{name}</title>" in svg for name in names)


def test_the_last_mark_is_named_inside_the_plot() -> None:
    svg = chart([(0.0, 0.0), (1.0, 1.0)], marks=[Mark(name="ROLLED_BACK", x=1.0)])
    assert 'text-anchor="end">ROLLED_BACK<' in svg


def test_close_lines_have_names_apart() -> None:
    series = [
        Series(name=f"s{n}", colour="#000", points=[(0.0, 1.0), (1.0, 1.0 + n / 1e6)])
        for n in range(3)
    ]
    svg = line_chart(series, x=_X, y=Axis(name="y", least=0.0, most=2.0))
    places = sorted(float(y) for y in re.findall(r'<text x="718" y="([\d.]+)" fill', svg))
    assert all(b - a >= 13 for a, b in itertools.pairwise(places))
    assert len(places) == 3


def test_a_narrow_chart_names_its_lines_below_the_plot() -> None:
    points = [(0.0, 0.0), (1.0, 1.0)]
    series = [
        Series(name="student", colour="#0a0", points=points),
        Series(name="bar", colour="#a00", points=points, dashed=True),
        Series(name="student, all pairs", colour="#0a0", points=points, thin=True),
    ]
    level = Level(name="promotes", y=0.5)
    svg = line_chart(series, x=_X, y=_Y, levels=[level], size=NARROW)
    axis = float(re.findall(r'y="([\d.]+)"[^>]*>pairs<', svg)[0])
    named = {
        name: (float(y), dash)
        for dash, y, name in re.findall(
            r'stroke-dasharray="([^"]*)"></line>\n<text x="\d+" y="([\d.]+)"[^>]*>([^<]*)<', svg
        )
    }
    # A thin line is named by its title alone.
    assert named.keys() == {"student", "bar", "promotes"}
    assert {dash for _, dash in named.values()} == {"none", "5 4", "2 3"}
    heights = sorted([axis, *(y for y, _ in named.values())])
    assert heights[0] == axis
    assert all(b - a >= 13 for a, b in itertools.pairwise(heights))
    assert "<title>student, all pairs</title>" in svg


@given(_FINITE, st.floats(1e-6, 1e9), st.integers(2, 12))
def test_ticks_are_round_inside_and_about_as_many(low: float, span: float, about: int) -> None:
    high = low + span
    found = ticks(low, high, about)
    if high <= low:
        return
    slack = 1e-6 * span + 1e-9 * max(abs(low), abs(high))
    assert all(low - slack <= one <= high + slack for one in found)
    assert 1 <= len(found) <= about + 1
    assert found == sorted(set(found))


@given(st.floats(0, 2e9), st.floats(1.0, 5e8), st.integers(3, 10))
def test_time_ticks_are_round_moments(low: float, span: float, about: int) -> None:
    found = time_ticks(low, low + span, about)
    assert len(found) <= about + 2
    assert all(low - 1 <= one <= low + span + 1 for one in found)
    steps = {round(b - a, 3) for a, b in itertools.pairwise(found)}
    assert len(steps) <= 1
    if span / about >= 60 and span / about <= 365 * 86_400:
        assert all(one % 60 == 0 for one in found)


@pytest.mark.parametrize(
    ("low", "high", "powers"),
    [
        (0.3, 40.0, [0, 1]),
        (0.05, 3e3, [-1, 0, 1, 2, 3]),
        (0.05, 2e5, [0, 2, 4]),
        (0.001, 1e31, [0, 10, 20, 30]),
        (0.5, 2e10, [0, 3, 6, 9]),
        (1.0, 1e300, [0, 100, 200, 300]),
    ],
)
def test_log_ticks_are_powers_of_ten(low: float, high: float, powers: list[int]) -> None:
    found = log_ticks(math.log(low), math.log(high), 5)
    assert found == pytest.approx([power * math.log(10) for power in powers])


def test_log_ticks_of_less_than_a_decade() -> None:
    assert len(log_ticks(math.log(2.0), math.log(8.0), 5)) > 1


@pytest.mark.parametrize("kind", [ticks, log_ticks, time_ticks])
def test_ticks_of_nothing(kind: Callable[[float, float, int], list[float]]) -> None:
    assert kind(3.0, 3.0, 5) == [3.0]
    assert kind(3.0, 2.0, 5) == [3.0]


def test_ticks_are_written_short() -> None:
    assert [_Y.text(value) for value in ticks(0.0, 0.5, 5)] == [
        "0", "0.1", "0.2", "0.3", "0.4", "0.5",
    ]  # fmt: skip
    assert _Y.text(12_500.0) == "12,500"


@given(st.lists(st.integers(), max_size=300), st.integers(2, 50))
def test_thinning_keeps_order_first_and_last(items: list[int], most: int) -> None:
    places = list(enumerate(items))
    kept = thinned(places, most)
    assert len(kept) == min(len(places), most)
    assert list(kept) == sorted(set(kept))
    if places:
        assert (kept[0], kept[-1]) == (places[0], places[-1])


def _first(point: tuple[float, float | None]) -> float:
    return point[0]
