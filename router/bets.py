"""A mixture of constant bets against "not good enough": e-process and e-detector in one class.

Outcomes y >= -b are made so that the null hypothesis reads E[y | past] <= 0. Each bet multiplies
its wealth by 1 + (f / b) * weight * y, which is a fair or losing game while the null holds.
As an e-process, P(the mean wealth ever reaches 1/alpha) <= alpha, for any number of looks (Ville).
With ``restart`` (Shiryaev-Roberts) one unit of money joins before each outcome: the mean time to
a false alarm at level A is at least A outcomes, and P(alarm within n) <= n / A.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from router.errors import EvidenceError

#: Rounding of scores such as S - R * T may fall this far below -b.
_ROUNDING = 1e-12


def spread(low: float, high: float, count: int = 8) -> tuple[float, ...]:
    """Return ``count`` log-spaced bet fractions from ``low`` to ``high``."""
    return tuple(low * (high / low) ** (j / (count - 1)) for j in range(count))


#: For scores: from cautious (sees small differences late) to bold (sees big ones at once).
QUALITY = spread(0.05, 0.95)
#: For rare faults: bold bets would die in the long healthy stretches.
AVAILABILITY = spread(0.002, 0.1)


class BetsState(msgspec.Struct, frozen=True, kw_only=True):
    """JSON-safe copy of `Bets`; None stands for minus infinity."""

    b: float
    restart: bool
    fractions: tuple[float, ...]
    n: int
    total: float
    log_max: float | None
    log_wealth: tuple[float | None, ...]


class Bets:
    """The wealths of the bets, as logarithms.

    ``b``: outcomes are never below -b. ``restart``: e-detector instead of e-process.
    """

    __slots__ = ("_wealth", "b", "fractions", "log_max", "n", "restart", "total")

    def __init__(
        self, b: float, *, restart: bool = False, fractions: Sequence[float] = QUALITY
    ) -> None:
        if not (math.isfinite(b) and b > 0.0):
            raise EvidenceError(f"bets: b is {b}; the bound of the outcomes must be above 0")
        if not fractions or not all(0.0 < f < 1.0 for f in fractions):
            raise EvidenceError(f"bets: fractions {fractions} must lie strictly between 0 and 1")
        self.b = b
        self.restart = restart
        self.fractions = tuple(fractions)
        self.n = 0
        #: sum of weight * y
        self.total = 0.0
        start = -math.inf if restart else 0.0
        #: highest `log_value` so far
        self.log_max = start
        self._wealth = [start] * len(self.fractions)

    def update(self, y: float, weight: float = 1.0) -> float:
        """Take one outcome and return `log_value`; refuse what would break the bound.

        ``weight`` in (0, 1] must have been known before ``y``.
        """
        if not math.isfinite(y) or y < -self.b - _ROUNDING:
            raise EvidenceError(f"outcome {y} is below -{self.b} or no number")
        if not 0.0 < weight <= 1.0:
            raise EvidenceError(f"pair weight {weight} must lie in (0, 1]")
        y *= weight
        self.n += 1
        self.total += y
        rate = y / self.b
        for j, fraction in enumerate(self.fractions):
            wealth = self._wealth[j]
            if self.restart:
                wealth = _log_add_one(wealth)
            self._wealth[j] = wealth + math.log1p(fraction * rate)
        value = self.log_value
        self.log_max = max(self.log_max, value)
        return value

    @property
    def log_value(self) -> float:
        """Logarithm of the mean wealth now (log E, or log M of a detector)."""
        return log_mean_exp(self._wealth)

    @property
    def log_wealth(self) -> tuple[float, ...]:
        """Logarithm of each bet's wealth."""
        return tuple(self._wealth)

    def state(self) -> BetsState:
        """Return a copy that `restore` turns into the same bets, bit for bit."""
        return BetsState(
            b=self.b,
            restart=self.restart,
            fractions=self.fractions,
            n=self.n,
            total=self.total,
            log_max=_finite(self.log_max),
            log_wealth=tuple(_finite(wealth) for wealth in self._wealth),
        )

    @classmethod
    def restore(cls, state: BetsState) -> Bets:
        """Rebuild bets from `state`."""
        if len(state.log_wealth) != len(state.fractions):
            raise EvidenceError("bets: the stored state has another number of wealths than bets")
        bets = cls(state.b, restart=state.restart, fractions=state.fractions)
        bets.n = state.n
        bets.total = state.total
        bets.log_max = _infinite(state.log_max)
        bets._wealth = [_infinite(wealth) for wealth in state.log_wealth]
        return bets


def log_mean_exp(logs: Sequence[float]) -> float:
    """Return log(mean(exp(logs))) without overflow."""
    top = max(logs)
    if top == -math.inf:
        return top
    return top + math.log(sum(math.exp(x - top) for x in logs)) - math.log(len(logs))


def _log_add_one(x: float) -> float:
    """Return log(exp(x) + 1)."""
    if x > 0.0:
        return x + math.log1p(math.exp(-x))
    return math.log1p(math.exp(x))


def _finite(x: float) -> float | None:
    return None if x == -math.inf else x


def _infinite(x: float | None) -> float:
    return -math.inf if x is None else x
