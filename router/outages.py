"""Outage windows of one candidate's evidence, cut by health and never by scores."""

from __future__ import annotations

import msgspec

from router.errors import EvidenceError


class OutagesState(msgspec.Struct, frozen=True, kw_only=True):
    """JSON-safe copy of `Outages`."""

    windows: tuple[tuple[float, float], ...]
    first: float | None
    last: float | None


class Outages:
    """The windows (Unix seconds), merged where they touch, and the time that the pairs span."""

    def __init__(self) -> None:
        self._windows: list[tuple[float, float]] = []
        self._first: float | None = None
        self._last: float | None = None

    def add(self, start: float, end: float) -> None:
        """Add a window; the same window again changes nothing."""
        if not start <= end:
            raise EvidenceError(f"outage window from {start} to {end} ends before it starts")
        merged: list[tuple[float, float]] = []
        for low, high in sorted([*self._windows, (start, end)]):
            if merged and low <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], high))
            else:
                merged.append((low, high))
        self._windows = merged

    def saw(self, ts: float) -> None:
        """Count the time of a pair into the span."""
        self._first = ts if self._first is None else min(self._first, ts)
        self._last = ts if self._last is None else max(self._last, ts)

    @property
    def count(self) -> int:
        """How many windows there are."""
        return len(self._windows)

    def share(self, since: float | None) -> float:
        """Share of the span that lies in windows; 0..1.

        The span: first pair to last, without what came before ``since`` (Unix seconds).
        """
        first, last = self._first, self._last
        if first is not None and since is not None:
            first = max(first, since)
        if first is None or last is None or last <= first:
            return 0.0
        inside = sum(max(0.0, min(end, last) - max(start, first)) for start, end in self._windows)
        return inside / (last - first)

    def state(self) -> OutagesState:
        """Return a copy for `restore`."""
        return OutagesState(windows=tuple(self._windows), first=self._first, last=self._last)

    @classmethod
    def restore(cls, state: OutagesState) -> Outages:
        """Rebuild from `state`."""
        outages = cls()
        outages._windows = list(state.windows)
        outages._first, outages._last = state.first, state.last
        return outages
