"""Line charts as inline SVG, so that a report is one file that opens anywhere, offline.

Pure: values in, markup out. All text is escaped: names of classes and routes are untrusted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple, TypeGuard

from control.report.thinning import thinned
from control.report.ticks import ticks

WIDTH = 860
_PLOT_HEIGHT = 212
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 150, 10, 34
_MOST_POINTS = 600
#: what is larger is no figure of ours: infinity, or a fault; NaN is not smaller than anything
_LARGEST = 1e15
#: names of marks stand above the plot, in rows, so that they meet neither lines nor each other
_ROW, _MOST_ROWS, _LETTER = 13, 4, 6.6


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line: points (x, y) in order of x; a y that is no (sensible) number breaks the line."""

    name: str
    colour: str
    points: Sequence[tuple[float, float | None]]
    dashed: bool = False
    #: draw as steps: the value holds until the next point
    steps: bool = False


@dataclass(frozen=True, kw_only=True)
class Level:
    """A horizontal threshold."""

    name: str
    y: float
    colour: str = "#9a3412"


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A vertical line: something happened at ``x``."""

    name: str
    x: float


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Labels of one axis, and its ends where the values do not decide them."""

    name: str
    #: a tick's label
    text: Callable[[float], str] = lambda value: f"{value:,.6g}"
    #: low, high, how many about -> where ticks are
    ticks: Callable[[float, float, int], list[float]] = ticks
    least: float | None = None
    most: float | None = None


def line_chart(
    series: Sequence[Series],
    *,
    x: Axis,
    y: Axis,
    levels: Sequence[Level] = (),
    marks: Sequence[Mark] = (),
) -> str:
    """Draw the lines; without any point, a sentence that says so."""
    drawn = [s for s in series if any(_is_number(v) for _, v in s.points)]
    if not drawn:
        return '<p class="none">No data yet.</p>'
    frame = _frame(drawn, x, y, levels, marks)
    rows = _rows(frame, marks)
    # The names of the marks need room above; everything else keeps its size.
    frame = frame._replace(top=_TOP + _ROW * (1 + max(rows, default=-1)))
    parts = [
        *_grid(frame, x, y),
        *(_mark_line(frame, mark, row) for mark, row in zip(marks, rows, strict=True)),
        *(_mark_name(frame, mark, row) for mark, row in zip(marks, rows, strict=True) if row >= 0),
        *(_level(frame, level) for level in levels),
        *(_line(frame, one) for one in drawn),
        *_legend(frame, drawn, levels),
    ]
    view, label = f"0 0 {WIDTH} {frame.bottom + _BOTTOM}", f"{y.name} over {x.name}"
    return _el("svg", "\n".join(parts), viewBox=view, role="img", aria_label=label)


class _Frame(NamedTuple):
    """From values to places."""

    x0: float
    x1: float
    y0: float
    y1: float
    top: int = _TOP

    @property
    def bottom(self) -> int:
        return self.top + _PLOT_HEIGHT

    def px(self, x: float) -> float:
        inside = min(max(x, self.x0), self.x1)
        return _LEFT + (inside - self.x0) / (self.x1 - self.x0) * (WIDTH - _LEFT - _RIGHT)

    def py(self, y: float) -> float:
        inside = min(max(y, self.y0), self.y1)
        return self.bottom - (inside - self.y0) / (self.y1 - self.y0) * _PLOT_HEIGHT


def _frame(
    series: Sequence[Series], x: Axis, y: Axis, levels: Sequence[Level], marks: Sequence[Mark]
) -> _Frame:
    xs = [at for s in series for at, _ in s.points] + [m.x for m in marks]
    ys = [v for s in series for _, v in s.points if _is_number(v)] + [lv.y for lv in levels]
    x0, x1 = _ends(xs, x, room=0.0)
    y0, y1 = _ends(ys, y, room=0.06)
    return _Frame(x0=x0, x1=x1, y0=y0, y1=y1)


def _ends(values: Sequence[float], axis: Axis, *, room: float) -> tuple[float, float]:
    low = min(values) if axis.least is None else axis.least
    high = max(values) if axis.most is None else axis.most
    # Of one value alone the plot shows a span around it that floats can still tell apart.
    span = (high - low) or max(1.0, abs(low) * 1e-6)
    if high <= low:
        high = low + span
    return (
        low - room * span if axis.least is None else low,
        high + room * span if axis.most is None else high,
    )


def _is_number(value: float | None) -> TypeGuard[float]:
    return value is not None and abs(value) < _LARGEST


def _el(name: str, content: str = "", **attributes: str | float) -> str:
    """One element; ``content`` is markup already, attribute values are escaped here."""
    pairs = []
    for key, value in attributes.items():
        text = f"{value:.1f}" if isinstance(value, float) else escape(str(value))
        pairs.append(f' {key if key == "viewBox" else key.rstrip("_").replace("_", "-")}="{text}"')
    return f"<{name}{''.join(pairs)}>{content}</{name}>"


def _grid(frame: _Frame, x: Axis, y: Axis) -> list[str]:
    right, bottom = WIDTH - _RIGHT, frame.bottom
    out = []
    for value in y.ticks(frame.y0, frame.y1, 5):
        at = frame.py(value)
        out.append(_el("line", class_="grid", x1=_LEFT, x2=right, y1=at, y2=at))
        out.append(_el("text", escape(y.text(value)), x=_LEFT - 6, y=at + 4, text_anchor="end"))
    for value in x.ticks(frame.x0, frame.x1, 6):
        at = frame.px(value)
        out.append(_el("line", class_="grid", x1=at, x2=at, y1=bottom, y2=bottom + 4))
        out.append(_el("text", escape(x.text(value)), x=at, y=bottom + 16, text_anchor="middle"))
    middle = (_LEFT + right) / 2
    out.append(_el("text", escape(x.name), x=middle, y=bottom + 30, text_anchor="middle"))
    turn = f"translate(11 {(frame.top + bottom) / 2:.1f}) rotate(-90)"
    out.append(_el("text", escape(y.name), transform=turn, text_anchor="middle"))
    return out


def _line(frame: _Frame, series: Series) -> str:
    path, pen = [], "M"
    last_y: float | None = None
    for x, y in thinned(series.points, _MOST_POINTS):
        if not _is_number(y):
            pen, last_y = "M", None
            continue
        if series.steps and last_y is not None:
            path.append(f"L{frame.px(x):.1f} {frame.py(last_y):.1f}")
        path.append(f"{pen}{frame.px(x):.1f} {frame.py(y):.1f}")
        pen, last_y = "L", y
    dash = {"stroke_dasharray": "5 4"} if series.dashed else {}
    # A lone point has no length: a round cap makes it a dot.
    return _el(
        "path", _el("title", escape(series.name)), d=" ".join(path), fill="none",
        stroke=series.colour, stroke_width=2, stroke_linecap="round", **dash,
    )  # fmt: skip


def _level(frame: _Frame, level: Level) -> str:
    at, title = frame.py(level.y), _el("title", escape(level.name))
    ends = {"x1": _LEFT, "x2": WIDTH - _RIGHT, "y1": at, "y2": at}
    return _el("line", title, stroke=level.colour, stroke_dasharray="2 3", **ends)


def _rows(frame: _Frame, marks: Sequence[Mark]) -> list[int]:
    """The row of each mark's name, the lowest that is free there; -1: there is no room for it."""
    taken: list[list[tuple[float, float]]] = [[] for _ in range(_MOST_ROWS)]
    rows = []
    for mark in marks:
        left, right = _span(frame, mark)
        free = (
            row
            for row in range(_MOST_ROWS)
            if all(right < start or end < left for start, end in taken[row])
        )
        rows.append(next(free, -1))
        if rows[-1] >= 0:
            taken[rows[-1]].append((left, right))
    return rows


def _span(frame: _Frame, mark: Mark) -> tuple[float, float]:
    """Where a mark's name stands: to the right of its line, or to the left near the edge."""
    at, length = frame.px(mark.x), 3 + _LETTER * len(mark.name)
    return (at - length, at) if at + length > WIDTH - _RIGHT else (at, at + length)


def _mark_line(frame: _Frame, mark: Mark, row: int) -> str:
    at, title = frame.px(mark.x), _el("title", escape(mark.name))
    top = frame.top - _ROW * (row + 1)
    return _el("line", title, class_="mark", x1=at, x2=at, y1=top, y2=frame.bottom)


def _mark_name(frame: _Frame, mark: Mark, row: int) -> str:
    at = frame.px(mark.x)
    side, anchor = (at - 3, "end") if _span(frame, mark)[0] < at else (at + 3, "start")
    y = frame.top - _ROW * (row + 1) + 9
    return _el("text", escape(mark.name), class_="mark", x=side, y=y, text_anchor=anchor)


def _legend(frame: _Frame, series: Sequence[Series], levels: Sequence[Level]) -> list[str]:
    """Names at the right, each near the end of its line, pushed apart where they would overlap."""
    wanted = [(frame.py(_last(s)), s.name, s.colour) for s in series]
    wanted += [(frame.py(level.y), level.name, level.colour) for level in levels]
    out, below = [], float(frame.top - 13)
    for at, name, colour in sorted(wanted):
        below = max(at, below + 13)
        out.append(_el("text", escape(name), x=WIDTH - _RIGHT + 8, y=below + 4, fill=colour))
    return out


def _last(series: Series) -> float:
    return next(y for _, y in reversed(series.points) if _is_number(y))
