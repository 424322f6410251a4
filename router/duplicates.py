"""How often a near-duplicate counts, decided before its score is looked at.

Gate: a cluster counts once. Guards: once in seven days, except templates (a real share of the
traffic, on several days): all their copies count, or a student that breaks on one is never found.
"""

from __future__ import annotations

import msgspec

from router.policy import DAY_S

_ONCE_IN_S = 7 * DAY_S
_MEMORY_DAYS = 28
_TEMPLATE_SHARE = 0.01
_TEMPLATE_DAYS = 5


class FirstCopies:
    """Lets the first pair of each cluster through."""

    def __init__(self, seen: frozenset[str] = frozenset()) -> None:
        self._seen = set(seen)

    def counts(self, cluster: str | None) -> bool:
        """Whether this pair counts; None is a cluster of its own."""
        if cluster is None:
            return True
        if cluster in self._seen:
            return False
        self._seen.add(cluster)
        return True

    def state(self) -> tuple[str, ...]:
        """Return the clusters seen, in a fixed order."""
        return tuple(sorted(self._seen))


class DailyCountState(msgspec.Struct, frozen=True, kw_only=True):
    """JSON-safe copy of `DailyCount`."""

    first: int | None
    days: dict[int, int]


class DailyCount:
    """How many came on each of the past 28 days (UTC)."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._days: dict[int, int] = {}

    def add(self, ts: float, n: int = 1) -> bool:
        """Count ``n`` on the day of ``ts``; return whether they open a new day."""
        day = int(ts // DAY_S)
        if self._first is None:
            self._first = day
        opens = day not in self._days
        self._days[day] = self._days.get(day, 0) + n
        if opens:
            self.drop_before(day - _MEMORY_DAYS)
        return opens

    def drop_before(self, day: int) -> None:
        """Forget the days before ``day``."""
        self._days = {d: count for d, count in self._days.items() if d >= day}

    @property
    def total(self) -> int:
        """Count over the days that are remembered."""
        return sum(self._days.values())

    @property
    def seen_on(self) -> int:
        """On how many of these days something came."""
        return len(self._days)

    @property
    def mean(self) -> float:
        """A day's count, over whole days: without the first and the last; 0 while there is none."""
        if not self._days or self._first is None:
            return 0.0
        last = max(self._days)
        start = max(self._first + 1, last - _MEMORY_DAYS)
        if start >= last:
            return 0.0
        return sum(n for day, n in self._days.items() if start <= day < last) / (last - start)

    def state(self) -> DailyCountState:
        """Return a copy for `restore`."""
        return DailyCountState(first=self._first, days=dict(sorted(self._days.items())))

    @classmethod
    def restore(cls, state: DailyCountState) -> DailyCount:
        """Rebuild from `state`."""
        count = cls()
        count._first = state.first
        count._days = dict(state.days)
        return count


class ClusterState(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What is remembered of one cluster."""

    cluster: str
    #: when it last counted, Unix seconds
    counted: float | None
    days: DailyCountState


class GuardCopiesState(msgspec.Struct, frozen=True, kw_only=True):
    """JSON-safe copy of `GuardCopies`."""

    pairs: DailyCountState
    clusters: tuple[ClusterState, ...]


class GuardCopies:
    """Lets a cluster through once in seven days, and templates always."""

    def __init__(self) -> None:
        self._pairs = DailyCount()
        self._clusters: dict[str, DailyCount] = {}
        self._counted: dict[str, float] = {}

    @property
    def pairs_a_day(self) -> float:
        """Pairs on a whole day, all copies."""
        return self._pairs.mean

    def counts(self, cluster: str | None, ts: float) -> bool:
        """Whether a pair of this cluster counts at ``ts``; then it is the last that counted."""
        if cluster is None or self._is_template(cluster):
            return True
        last = self._counted.get(cluster)
        if last is not None and ts - last < _ONCE_IN_S:
            return False
        self._counted[cluster] = ts
        return True

    def remember(self, cluster: str | None, ts: float) -> None:
        """Count a scored pair, whether or not it went to the guards."""
        opens = self._pairs.add(ts)
        if opens:
            self._forget(int(ts // DAY_S) - _MEMORY_DAYS)
        if cluster is not None:
            self._clusters.setdefault(cluster, DailyCount()).add(ts)

    def restart(self) -> None:
        """Forget what counted, not what came: the guards begin anew."""
        self._counted = {}

    def state(self) -> GuardCopiesState:
        """Return a copy for `restore`."""
        names = sorted(self._clusters.keys() | self._counted.keys())
        empty = DailyCount()
        return GuardCopiesState(
            pairs=self._pairs.state(),
            clusters=tuple(
                ClusterState(
                    cluster=name,
                    counted=self._counted.get(name),
                    days=self._clusters.get(name, empty).state(),
                )
                for name in names
            ),
        )

    @classmethod
    def restore(cls, state: GuardCopiesState) -> GuardCopies:
        """Rebuild from `state`."""
        copies = cls()
        copies._pairs = DailyCount.restore(state.pairs)
        for cluster in state.clusters:
            if cluster.days.days:
                copies._clusters[cluster.cluster] = DailyCount.restore(cluster.days)
            if cluster.counted is not None:
                copies._counted[cluster.cluster] = cluster.counted
        return copies

    def _is_template(self, cluster: str) -> bool:
        days = self._clusters.get(cluster)
        return (
            days is not None
            and days.seen_on >= _TEMPLATE_DAYS
            and days.total >= _TEMPLATE_SHARE * self._pairs.total
        )

    def _forget(self, day: int) -> None:
        """Drop what is older than the memory, once a day."""
        for days in self._clusters.values():
            days.drop_before(day)
        self._clusters = {name: days for name, days in self._clusters.items() if days.seen_on}
        self._counted = {name: ts for name, ts in self._counted.items() if ts >= day * DAY_S}
