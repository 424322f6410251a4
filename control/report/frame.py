"""What a chart shows, and where in the picture that goes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeGuard

from control.report.ticks import ticks

PLOT_HEIGHT = 212
#: room beside the plot
LEFT, TOP, BOTTOM = 64, 10, 34
#: what is larger is no figure of ours: infinity, or a fault; NaN is not smaller than anything
_LARGEST = 1e15


class Size(NamedTuple):
    """How wide a chart is: letters keep their size, so a phone needs a drawing of its own."""

    width: int
    #: room right of the plot
    right: int
    most_points: int
    #: the names of the lines stand at their ends, in that room; otherwise below the plot
    names_at_ends: bool


WIDE = Size(width=860, right=150, most_points=600, names_at_ends=True)
NARROW = Size(width=340, right=26, most_points=300, names_at_ends=False)


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line: points (x, y) in order of x; a y that is no (sensible) number breaks the line."""

    name: str
    colour: str
    points: Sequence[tuple[float, float | None]]
    dashed: bool = False
    #: draw it in the background, with no name but its title
    thin: bool = False
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


class Frame(NamedTuple):
    """From values to places."""

    x0: float
    x1: float
    y0: float
    y1: float
    size: Size
    top: int = TOP

    @property
    def right(self) -> int:
        return self.size.width - self.size.right

    @property
    def bottom(self) -> int:
        return self.top + PLOT_HEIGHT

    def px(self, x: float) -> float:
        inside = min(max(x, self.x0), self.x1)
        return LEFT + (inside - self.x0) / (self.x1 - self.x0) * (self.right - LEFT)

    def py(self, y: float) -> float:
        inside = min(max(y, self.y0), self.y1)
        return self.bottom - (inside - self.y0) / (self.y1 - self.y0) * PLOT_HEIGHT


def frame_of(
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    levels: Sequence[Level],
    marks: Sequence[Mark],
    size: Size,
) -> Frame:
    """Around everything that the chart shows."""
    xs = [at for s in series for at, _ in s.points] + [m.x for m in marks]
    ys = [v for s in series for _, v in s.points if is_number(v)] + [lv.y for lv in levels]
    x0, x1 = _ends(xs, x, room=0.0)
    y0, y1 = _ends(ys, y, room=0.06)
    return Frame(x0=x0, x1=x1, y0=y0, y1=y1, size=size)


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


def is_number(value: float | None) -> TypeGuard[float]:
    """Whether a value has a place in a plot."""
    return value is not None and abs(value) < _LARGEST
