"""Line charts as inline SVG, so that a report is one file that opens anywhere, offline.

Pure: values in, markup out. All text is escaped: names of classes and routes are untrusted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from control.report.frame import (
    BOTTOM,
    LEFT,
    TOP,
    WIDE,
    Axis,
    Frame,
    Level,
    Mark,
    Series,
    Size,
    frame_of,
    is_number,
)
from control.report.thinning import thinned

#: room for the name of a line, where they stand one below the other, and above them
_NAME, _GAP = 15, 5
#: of its width an axis has one tick for so much, about
_TICK = 80
#: names of marks stand above the plot, in rows, so that they meet neither lines nor each other
_ROW, _MOST_ROWS, _LETTER = 13, 4, 7.2
_DASHED, _DOTTED = "5 4", "2 3"


def line_chart(
    series: Sequence[Series],
    *,
    x: Axis,
    y: Axis,
    levels: Sequence[Level] = (),
    marks: Sequence[Mark] = (),
    size: Size = WIDE,
) -> str:
    """Draw the lines; without any point, a sentence that says so."""
    drawn = [s for s in series if any(is_number(v) for _, v in s.points)]
    if not drawn:
        return '<p class="none">No data yet.</p>'
    frame = frame_of(drawn, x, y, levels, marks, size)
    rows = _rows(frame, marks)
    # The names of the marks need room above; everything else keeps its size.
    frame = frame._replace(top=TOP + _ROW * (1 + max(rows, default=-1)))
    names = _names(frame, drawn, levels)
    below = 0 if size.names_at_ends else _GAP + _NAME * len(names)
    parts = [
        *_grid(frame, x, y),
        *(_mark_line(frame, mark, row) for mark, row in zip(marks, rows, strict=True)),
        *(_mark_name(frame, mark, row) for mark, row in zip(marks, rows, strict=True) if row >= 0),
        *(_level(frame, level) for level in levels),
        *(_line(frame, one) for one in drawn),
        *(_at_ends(frame, names) if size.names_at_ends else _below(frame, names)),
    ]
    view = f"0 0 {size.width} {frame.bottom + BOTTOM + below}"
    label = f"{y.name} over {x.name}"
    return _el("svg", "\n".join(parts), viewBox=view, role="img", aria_label=label)


def _el(name: str, content: str = "", **attributes: str | float) -> str:
    """One element; ``content`` is markup already, attribute values are escaped here."""
    pairs = []
    for key, value in attributes.items():
        text = f"{value:.1f}" if isinstance(value, float) else escape(str(value))
        pairs.append(f' {key if key == "viewBox" else key.rstrip("_").replace("_", "-")}="{text}"')
    return f"<{name}{''.join(pairs)}>{content}</{name}>"


def _grid(frame: Frame, x: Axis, y: Axis) -> list[str]:
    right, bottom = frame.right, frame.bottom
    out = []
    for value in y.ticks(frame.y0, frame.y1, 5):
        at = frame.py(value)
        out.append(_el("line", class_="grid", x1=LEFT, x2=right, y1=at, y2=at))
        out.append(_el("text", escape(y.text(value)), x=LEFT - 6, y=at + 4, text_anchor="end"))
    for value in x.ticks(frame.x0, frame.x1, (right - LEFT) // _TICK):
        at = frame.px(value)
        out.append(_el("line", class_="grid", x1=at, x2=at, y1=bottom, y2=bottom + 4))
        out.append(_el("text", escape(x.text(value)), x=at, y=bottom + 16, text_anchor="middle"))
    middle = (LEFT + right) / 2
    out.append(_el("text", escape(x.name), x=middle, y=bottom + 30, text_anchor="middle"))
    turn = f"translate(11 {(frame.top + bottom) / 2:.1f}) rotate(-90)"
    out.append(_el("text", escape(y.name), transform=turn, text_anchor="middle"))
    return out


def _line(frame: Frame, series: Series) -> str:
    path, pen = [], "M"
    last_y: float | None = None
    for x, y in thinned(series.points, frame.size.most_points):
        if not is_number(y):
            pen, last_y = "M", None
            continue
        if series.steps and last_y is not None:
            path.append(f"L{frame.px(x):.1f} {frame.py(last_y):.1f}")
        path.append(f"{pen}{frame.px(x):.1f} {frame.py(y):.1f}")
        pen, last_y = "L", y
    looks: dict[str, str | float] = {"stroke_width": 2, "stroke_linecap": "round"}
    if series.dashed:
        looks["stroke_dasharray"] = _DASHED
    if series.thin:
        looks |= {"stroke_width": 1, "stroke_opacity": ".6"}
    # A lone point has no length: a round cap makes it a dot.
    return _el(
        "path", _el("title", escape(series.name)), d=" ".join(path), fill="none",
        stroke=series.colour, **looks,
    )  # fmt: skip


def _level(frame: Frame, level: Level) -> str:
    at, title = frame.py(level.y), _el("title", escape(level.name))
    ends = {"x1": LEFT, "x2": frame.right, "y1": at, "y2": at}
    return _el("line", title, stroke=level.colour, stroke_dasharray=_DOTTED, **ends)


def _rows(frame: Frame, marks: Sequence[Mark]) -> list[int]:
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


def _span(frame: Frame, mark: Mark) -> tuple[float, float]:
    """Where a mark's name stands: to the right of its line, or to the left near the edge."""
    at, length = frame.px(mark.x), 3 + _LETTER * len(mark.name)
    return (at - length, at) if at + length > frame.right else (at, at + length)


def _mark_line(frame: Frame, mark: Mark, row: int) -> str:
    at, title = frame.px(mark.x), _el("title", escape(mark.name))
    top = frame.top - _ROW * (row + 1)
    return _el("line", title, class_="mark", x1=at, x2=at, y1=top, y2=frame.bottom)


def _mark_name(frame: Frame, mark: Mark, row: int) -> str:
    at = frame.px(mark.x)
    side, anchor = (at - 3, "end") if _span(frame, mark)[0] < at else (at + 3, "start")
    y = frame.top - _ROW * (row + 1) + 9
    return _el("text", escape(mark.name), class_="mark", x=side, y=y, text_anchor=anchor)


class _Name(NamedTuple):
    """What a line is called; names are sorted from the top of the plot to its bottom."""

    y: float
    text: str
    colour: str
    dash: str


def _names(frame: Frame, series: Sequence[Series], levels: Sequence[Level]) -> list[_Name]:
    names = [
        _Name(frame.py(_last(one)), one.name, one.colour, _DASHED if one.dashed else "none")
        for one in series
        if not one.thin
    ]
    names += [_Name(frame.py(one.y), one.name, one.colour, _DOTTED) for one in levels]
    return sorted(names)


def _at_ends(frame: Frame, names: Sequence[_Name]) -> Iterator[str]:
    """At the right, each near the end of its line, pushed apart where they would overlap."""
    below = float(frame.top - 13)
    for name in names:
        below = max(name.y, below + 13)
        yield _el("text", escape(name.text), x=frame.right + 8, y=below + 4, fill=name.colour)


def _below(frame: Frame, names: Sequence[_Name]) -> Iterator[str]:
    """Below the plot, each behind a piece of its line."""
    for row, name in enumerate(names, start=1):
        y = frame.bottom + BOTTOM + _GAP + _NAME * row - 5
        yield _el(
            "line", x1=LEFT, x2=LEFT + 22, y1=y - 4, y2=y - 4, stroke=name.colour, stroke_width=2,
            stroke_dasharray=name.dash,
        )  # fmt: skip
        yield _el("text", escape(name.text), x=LEFT + 28, y=y, fill=name.colour)


def _last(series: Series) -> float:
    return next(y for _, y in reversed(series.points) if is_number(y))
