"""Circuit breakers: a student that keeps failing is left alone for a while, worker by worker."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

#: failures in a row that open a breaker
FAILURES = 5
#: an open breaker lets one probe through each so many seconds
PROBE_S = 30.0

_NONE: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Breaker:
    failures: int = 0
    #: Unix seconds; None: closed
    open_since: float | None = None
    next_probe: float = 0.0


class Breakers:
    """The breakers of one worker. ``now`` is in Unix seconds."""

    def __init__(self) -> None:
        self._breakers: dict[tuple[str, str], _Breaker] = {}
        self._open = 0

    def open_students(self, route: str, now: float) -> frozenset[str]:
        """Return the students of a route that must not be asked now; a due probe is let through."""
        if not self._open:
            return _NONE
        return frozenset(
            student
            for (its_route, student), breaker in self._breakers.items()
            if its_route == route and breaker.open_since is not None and now < breaker.next_probe
        )

    def asked(self, route: str, student: str, now: float) -> None:
        """A student is asked: if its breaker is open, this is the probe."""
        if self._open:
            breaker = self._breakers.get((route, student))
            if breaker is not None and breaker.open_since is not None:
                breaker.next_probe = now + PROBE_S

    def succeeded(self, route: str, student: str) -> None:
        """A student answered: its breaker closes."""
        if self._breakers and self._breakers.pop((route, student), None) is not None:
            self._count()

    def failed(self, route: str, student: str, now: float) -> bool:
        """A student failed; True if its breaker opens with this failure."""
        breaker = self._breakers.setdefault((route, student), _Breaker())
        breaker.failures += 1
        if breaker.open_since is not None or breaker.failures < FAILURES:
            return False
        breaker.open_since = now
        breaker.next_probe = now + PROBE_S
        self._count()
        return True

    def keep(self, students: Collection[tuple[str, str]]) -> None:
        """Forget all but these (route, student): nobody else is asked any more.

        A breaker closes when its student answers, so one of a student without weight never would.
        """
        for gone in self._breakers.keys() - set(students):
            del self._breakers[gone]
        self._count()

    def open_since(self) -> dict[str, float]:
        """Return the open breakers, ``ROUTE/STUDENT`` -> since (Unix seconds)."""
        if not self._open:
            return {}
        return {
            f"{route}/{student}": breaker.open_since
            for (route, student), breaker in self._breakers.items()
            if breaker.open_since is not None
        }

    def _count(self) -> None:
        self._open = sum(b.open_since is not None for b in self._breakers.values())
