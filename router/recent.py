"""The mean of D over the latest span of time, in buckets, so that the state stays small."""

from __future__ import annotations

import msgspec

_BUCKETS = 56


class RecentState(msgspec.Struct, frozen=True, kw_only=True):
    """JSON-safe copy of `Recent`: bucket -> (weight, weighted sum of each form)."""

    span_s: float
    buckets: dict[int, tuple[float, tuple[float, ...]]]


class Recent:
    """Weighted means over the last ``span_s`` seconds, to within one of 56 buckets."""

    def __init__(self, span_s: float) -> None:
        self._span_s = span_s
        self._width = span_s / _BUCKETS
        self._buckets: dict[int, tuple[float, tuple[float, ...]]] = {}

    def add(self, ts: float, values: tuple[float, ...], weight: float) -> None:
        """Take the values of one pair."""
        bucket = int(ts // self._width)
        if bucket not in self._buckets:
            newest = max(self._buckets, default=bucket)
            self._buckets = {b: v for b, v in self._buckets.items() if b > newest - 2 * _BUCKETS}
        total, sums = self._buckets.get(bucket, (0.0, (0.0,) * len(values)))
        self._buckets[bucket] = (
            total + weight,
            tuple(old + weight * value for old, value in zip(sums, values, strict=True)),
        )

    def means(self, now: float) -> tuple[float, ...] | None:
        """Return the mean of each form; None without a pair in the span."""
        oldest = int((now - self._span_s) // self._width)
        live = [self._buckets[b] for b in sorted(self._buckets) if b > oldest]
        total = sum(weight for weight, _ in live)
        if total <= 0.0:
            return None
        return tuple(sum(column) / total for column in zip(*(s for _, s in live), strict=True))

    def state(self) -> RecentState:
        """Return a copy for `restore`."""
        return RecentState(span_s=self._span_s, buckets=dict(sorted(self._buckets.items())))

    @classmethod
    def restore(cls, state: RecentState) -> Recent:
        """Rebuild from `state`."""
        recent = cls(state.span_s)
        recent._buckets = dict(state.buckets)
        return recent
