"""What the pairs so far prove, at any look: lower bounds, and what a guard could detect.

`Proved` and `TimeAverage` are folds over pairs, cheap to feed; the bisections run only when a
value is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from router.bets import QUALITY, log_mean_exp, spread
from router.errors import EvidenceError
from router.forms import Form

_TIME_LAMBDAS = spread(0.02, 0.7)
_TIME_COSTS = tuple(math.log1p(-x) + x for x in _TIME_LAMBDAS)
_BISECTIONS = 50


class ProvedState(msgspec.Struct, frozen=True, kw_only=True):
    """JSON-safe copy of `Proved`."""

    kind: str
    bars: tuple[float, ...]
    alpha: float
    #: how many bars are proved
    proved: int
    #: log-wealths of the open bars
    wealth: tuple[tuple[float, ...], ...]


class Proved:
    """The strictest bar of a grid that the pairs have proved (R_L for the ratio form).

    The gate's process runs for each open bar. Its wealth falls, path by path, as the bar gets
    stricter, so bars are proved in order and a proved one needs no process any more.
    """

    def __init__(self, form: Form, bars: Sequence[float], alpha: float) -> None:
        self._forms = tuple(form.at(bar) for bar in bars)
        self._kind = form.kind
        self.bars = tuple(bars)
        self._alpha = alpha
        self._threshold = -math.log(alpha)
        self._first = 0
        self._wealth = [[0.0] * len(QUALITY) for _ in self.bars]

    def add(self, student: float, teacher: float, weight: float = 1.0) -> bool:
        """Take one pair; return whether a stricter bar is proved by it."""
        for form, wealth in zip(self._forms[self._first :], self._wealth, strict=True):
            rate = weight * form.difference(student, teacher) / form.gate_bound
            for j, fraction in enumerate(QUALITY):
                wealth[j] += math.log1p(fraction * rate)
        before = self._first
        while self._wealth and log_mean_exp(self._wealth[0]) >= self._threshold:
            del self._wealth[0]
            self._first += 1
        return self._first > before

    @property
    def bar(self) -> float | None:
        """The strictest bar proved so far; None: not even the loosest."""
        return self.bars[self._first - 1] if self._first else None

    def state(self) -> ProvedState:
        """Return a copy that `restore` turns into the same value, bit for bit."""
        return ProvedState(
            kind=self._kind,
            bars=self.bars,
            alpha=self._alpha,
            proved=self._first,
            wealth=tuple(tuple(wealth) for wealth in self._wealth),
        )

    @classmethod
    def restore(cls, form: Form, state: ProvedState) -> Proved:
        """Rebuild from `state`."""
        if form.kind != state.kind or len(state.wealth) != len(state.bars) - state.proved:
            raise EvidenceError(f"bounds: the stored state is not one of the {form.kind} form")
        proved = cls(form, state.bars, state.alpha)
        proved._first = state.proved
        proved._wealth = [list(wealth) for wealth in state.wealth]
        return proved


class TimeAverageState(msgspec.Struct, frozen=True, kw_only=True):
    """JSON-safe copy of `TimeAverage`."""

    low: float
    high: float
    n: int
    total: float
    variation: float


class TimeAverage:
    """Confidence sequence for the average, so far, of values between ``low`` and ``high``.

    Valid at every look and under any drift; for reports only, as it needs more pairs than the gate.
    """

    def __init__(self, low: float, high: float) -> None:
        self._low = low
        self._high = high
        self.n = 0
        self._total = 0.0
        self._variation = 0.0

    def add(self, value: float) -> None:
        """Take one value."""
        x = (value - self._low) / (self._high - self._low)
        self.n += 1
        guess = (0.5 + self._total) / self.n
        self._variation += (x - guess) ** 2
        self._total += x

    @property
    def mean(self) -> float | None:
        """The plain mean; None without values."""
        if not self.n:
            return None
        return self._low + (self._high - self._low) * self._total / self.n

    def lower(self, alpha: float) -> float:
        """The average so far is at least this, with confidence 1 - alpha."""
        return self._low + (self._high - self._low) * self._bound(self._total, alpha)

    def upper(self, alpha: float) -> float:
        """The average so far is at most this, with confidence 1 - alpha."""
        mirrored = self._bound(self.n - self._total, alpha)
        return self._high - (self._high - self._low) * mirrored

    def _bound(self, total: float, alpha: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            evidence = log_mean_exp(
                [
                    x * (total - self.n * middle) + cost * self._variation
                    for x, cost in zip(_TIME_LAMBDAS, _TIME_COSTS, strict=True)
                ]
            )
            if evidence >= -math.log(alpha):
                low = middle
            else:
                high = middle
        return low

    def state(self) -> TimeAverageState:
        """Return a copy that `restore` turns into the same value, bit for bit."""
        return TimeAverageState(
            low=self._low,
            high=self._high,
            n=self.n,
            total=self._total,
            variation=self._variation,
        )

    @classmethod
    def restore(cls, state: TimeAverageState) -> TimeAverage:
        """Rebuild from `state`."""
        average = cls(state.low, state.high)
        average.n = state.n
        average._total = state.total
        average._variation = state.variation
        return average


def pairs_needed(log_e: float, n: int, alpha: float) -> int | None:
    """Pairs until E reaches 1/alpha at the present pace; None while E does not grow."""
    missing = -math.log(alpha) - log_e
    if missing <= 0.0:
        return 0
    return math.ceil(missing / (log_e / n)) if log_e > 0.0 and n else None


def anytime_p(log_max: float) -> float:
    """The p-value that stays valid under any number of looks."""
    return min(1.0, math.exp(-log_max))


def tipping_point(log_wealth: Sequence[float], alpha: float) -> int:
    """How many missing pairs, all lost by the student, would take E below 1/alpha.

    0: E is below it already.
    """
    losses = [math.log1p(-fraction) for fraction in QUALITY]
    threshold = -math.log(alpha)
    count = 0
    while (
        log_mean_exp([x + count * loss for x, loss in zip(log_wealth, losses, strict=True)])
        >= threshold
    ):
        count += 1
    return count


def detection_pairs(form: Form, student: float, teacher: float, arl: float) -> float:
    """Pairs until the bar guard would see a student who scores ``student`` on average.

    A cautious estimate: right/wrong scores, independent of the teacher's (correlated scores are
    found sooner). math.inf where the student is still above the bar. ``arl``: the guard's mean
    time to a false alarm, in pairs.
    """
    outcomes = [
        (p * q, -form.difference(s, t) / form.guard_bound)
        for s, p in ((1.0, student), (0.0, 1.0 - student))
        for t, q in ((1.0, teacher), (0.0, 1.0 - teacher))
    ]
    pace = max(
        sum(p * math.log1p(fraction * rate) for p, rate in outcomes if p > 0.0)
        for fraction in QUALITY
    )
    # One unit joins at each pair, so M after n pairs is about (e^(pace n) - 1) / (e^pace - 1).
    return math.log1p(arl * math.expm1(pace)) / pace if pace > 0.0 else math.inf


def smallest_detectable(
    form: Form, student: float, teacher: float, arl: float, pairs: float
) -> float | None:
    """The smallest drop of the student's score that the bar guard finds within ``pairs`` pairs.

    None: not even a student who is always wrong would be found in so few pairs.
    """
    if detection_pairs(form, 0.0, teacher, arl) > pairs:
        return None
    low, high = 0.0, student
    for _ in range(_BISECTIONS):
        drop = (low + high) / 2
        if detection_pairs(form, student - drop, teacher, arl) <= pairs:
            high = drop
        else:
            low = drop
    return high
