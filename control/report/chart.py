"""Line charts as inline SVG, so that a report is one file that opens anywhere, offline.

Pure: values in, markup out. All text is escaped: names of classes and routes are untrusted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 860, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 150, 14, 34
_MOST_POINTS = 600


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line: points (x, y) in order of x; a y of None breaks the line."""

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
    """Labels of one axis. ``text`` turns a value into a tick's label."""

    name: str
    text: Callable[[float], str] = lambda value: f"{value:g}"
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
    drawn = [s for s in series if any(v is not None for _, v in s.points)]
    if not drawn:
        return '<p class="none">No data yet.</p>'
    xs = [p[0] for s in drawn for p in s.points] + [m.x for m in marks]
    ys = [p[1] for s in drawn for p in s.points if p[1] is not None] + [lv.y for lv in levels]
    frame = _Frame(
        x0=min(xs),
        x1=max(xs),
        y0=min(ys) if y.least is None else y.least,
        y1=max(ys) if y.most is None else y.most,
    ).padded(keep_low=y.least is not None, keep_high=y.most is not None)
    label = f"{y.name} over {x.name}"
    parts = [
        *_grid(frame, x, y),
        *(part for n, mark in enumerate(marks) for part in _mark(frame, mark, n)),
        *(_level(frame, level) for level in levels),
        *(_line(frame, one) for one in drawn),
        *_legend(frame, drawn, levels),
    ]
    view = f"0 0 {WIDTH} {HEIGHT}"
    return _el("svg", "\n".join(parts), viewBox=view, role="img", aria_label=label)


@dataclass(frozen=True, kw_only=True)
class _Frame:
    x0: float
    x1: float
    y0: float
    y1: float

    def padded(self, *, keep_low: bool, keep_high: bool) -> _Frame:
        span = (self.y1 - self.y0) or 1.0
        return _Frame(
            x0=self.x0,
            x1=self.x1 if self.x1 > self.x0 else self.x0 + 1.0,
            y0=self.y0 if keep_low else self.y0 - 0.06 * span,
            y1=self.y1 if keep_high else self.y1 + 0.06 * span,
        )

    def px(self, x: float) -> float:
        return _LEFT + (x - self.x0) / (self.x1 - self.x0) * (WIDTH - _LEFT - _RIGHT)

    def py(self, y: float) -> float:
        inside = min(max(y, self.y0), self.y1)
        return (
            HEIGHT - _BOTTOM - (inside - self.y0) / (self.y1 - self.y0) * (HEIGHT - _TOP - _BOTTOM)
        )


def _el(name: str, content: str = "", **attributes: str | float) -> str:
    """One element; ``content`` is markup already, attribute values are escaped here."""
    pairs = []
    for key, value in attributes.items():
        text = f"{value:.1f}" if isinstance(value, float) else escape(str(value))
        pairs.append(f' {key if key == "viewBox" else key.rstrip("_").replace("_", "-")}="{text}"')
    return f"<{name}{''.join(pairs)}>{content}</{name}>"


def _grid(frame: _Frame, x: Axis, y: Axis) -> list[str]:
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    out = []
    for value in ticks(frame.y0, frame.y1, 5):
        at = frame.py(value)
        out.append(_el("line", class_="grid", x1=_LEFT, x2=right, y1=at, y2=at))
        out.append(_el("text", escape(y.text(value)), x=_LEFT - 6, y=at + 4, text_anchor="end"))
    for value in ticks(frame.x0, frame.x1, 6):
        at = frame.px(value)
        out.append(_el("line", class_="grid", x1=at, x2=at, y1=bottom, y2=bottom + 4))
        out.append(_el("text", escape(x.text(value)), x=at, y=bottom + 16, text_anchor="middle"))
    middle = (_LEFT + right) / 2
    out.append(_el("text", escape(x.name), x=middle, y=HEIGHT - 4, text_anchor="middle"))
    return out


def _line(frame: _Frame, series: Series) -> str:
    path, pen = [], "M"
    last_y: float | None = None
    for x, y in thinned(series.points):
        if y is None:
            pen, last_y = "M", None
            continue
        if series.steps and last_y is not None:
            path.append(f"L{frame.px(x):.1f} {frame.py(last_y):.1f}")
        path.append(f"{pen}{frame.px(x):.1f} {frame.py(y):.1f}")
        pen, last_y = "L", y
    dash = {"stroke_dasharray": "5 4"} if series.dashed else {}
    title = _el("title", escape(series.name))
    shape = " ".join(path)
    return _el("path", title, d=shape, fill="none", stroke=series.colour, stroke_width=2, **dash)


def _level(frame: _Frame, level: Level) -> str:
    at, title = frame.py(level.y), _el("title", escape(level.name))
    ends = {"x1": _LEFT, "x2": WIDTH - _RIGHT, "y1": at, "y2": at}
    return _el("line", title, stroke=level.colour, stroke_dasharray="2 3", **ends)


def _mark(frame: _Frame, mark: Mark, n: int) -> list[str]:
    at, row = frame.px(mark.x), _TOP + 9 + 11 * (n % 4)
    line = _el("line", class_="mark", x1=at, x2=at, y1=_TOP, y2=HEIGHT - _BOTTOM)
    # Near the right edge a name goes to the left of its line, away from the lines' own names.
    near = at > WIDTH - _RIGHT - 80
    side, anchor = (at - 3, "end") if near else (at + 3, "start")
    name = _el("text", escape(mark.name), class_="mark", x=side, y=row, text_anchor=anchor)
    return [line, name]


def _legend(frame: _Frame, series: Sequence[Series], levels: Sequence[Level]) -> list[str]:
    """Names at the right, each near the end of its line, pushed apart where they would overlap."""
    wanted = [(frame.py(_last(s)), s.name, s.colour) for s in series]
    wanted += [(frame.py(level.y), level.name, level.colour) for level in levels]
    out, below = [], float(_TOP)
    for at, name, colour in sorted(wanted):
        below = max(at, below + 13)
        out.append(_el("text", escape(name), x=WIDTH - _RIGHT + 8, y=below + 4, fill=colour))
    return out


def _last(series: Series) -> float:
    return next(y for _, y in reversed(series.points) if y is not None)


def thinned(points: Sequence[tuple[float, float | None]]) -> Sequence[tuple[float, float | None]]:
    """At most a few hundred of the points, the first and the last among them."""
    if len(points) <= _MOST_POINTS:
        return points
    step = (len(points) - 1) / (_MOST_POINTS - 1)
    return [points[round(n * step)] for n in range(_MOST_POINTS)]


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round values inside [low, high], roughly ``about`` of them."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    raw = span / about
    size = 10 ** math.floor(math.log10(raw))
    step = next(m * size for m in (1, 2, 2.5, 5, 10) if m * size >= raw)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]
