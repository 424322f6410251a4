"""Plain counters of one worker: an addition each on the hot path, a text only when asked for."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

#: upper bounds of the latency histogram, seconds
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Counters:
    """What a worker has done so far."""

    def __init__(self) -> None:
        #: (route, served_by, reason, status) -> requests
        self.requests: Counter[tuple[str, str, str, int]] = Counter()
        #: route -> requests in each bucket, the last one without bound
        self.buckets: dict[str, list[int]] = {}
        #: route -> sum of all durations, seconds
        self.seconds: Counter[str] = Counter()
        #: (route, student, kind) -> requests
        self.fallbacks: Counter[tuple[str, str, str]] = Counter()
        #: requests being answered now
        self.open = 0

    def request(
        self, route: str, served_by: str, reason: str, *, status: int, seconds: float
    ) -> None:
        """Count an answered request. Every label comes from us or from the snapshot."""
        self.requests[route, served_by, reason, status] += 1
        buckets = self.buckets.get(route)
        if buckets is None:
            buckets = self.buckets[route] = [0] * (len(BOUNDS) + 1)
        buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds[route] += seconds  # type: ignore[assignment]

    def refused(self, status: int) -> None:
        """Count a request that was not let in: its time says nothing about any route's."""
        self.requests["", "gateway", "refused", status] += 1

    def fallback(self, route: str, student: str, kind: str) -> None:
        """Count a request that the teacher answered instead of the student."""
        self.fallbacks[route, student, kind] += 1
