"""The detectors that never end: quality (bar and warning) on pairs, availability on requests.

A false alarm comes once in at least ``arl`` pairs (requests) on average, and within n of them with
a probability of at most n / arl. A bar alarm ends a rollout; a warning or an availability alarm
holds it.
"""

from __future__ import annotations

import math

import msgspec

from router.bets import AVAILABILITY, BetsState
from router.bounds import Proved, ProvedState
from router.detector import Crossing, Detector
from router.duplicates import DailyCount
from router.forms import Form
from router.policy import GuardPolicy
from router.verdicts import GuardSummary, GuardVerdict, amount

#: "A false alarm a month" is the least that busy routes should expect.
_DAYS = 30
CLEAR = GuardVerdict(verdict="clear", reason="no guard is running yet")


class QualityGuardState(msgspec.Struct, frozen=True, kw_only=True):
    """JSON-safe copy of `QualityGuard`."""

    form: Form
    bar: BetsState
    proved: ProvedState
    warn_bar: float | None
    warn: BetsState | None
    alarm: Crossing | None = None
    warning: Crossing | None = None


class QualityGuard:
    """Bar and warning detector of one form.

    The warning bar is what fresh pairs (those since promotion) have proved, and never above half
    way to the teacher: so no student is held by a bar that nothing has proved.
    """

    def __init__(self, form: Form, *, alpha: float, policy: GuardPolicy) -> None:
        self.form = form
        self._policy = policy
        self._bar = Detector(form.guard_bound)
        self._proved = Proved(form, form.warn_bars(), alpha)
        self._warn_bar: float | None = None
        self._warn: Detector | None = None

    def add(
        self, student: float, teacher: float, weight: float, *, arl: float, warn: bool = True
    ) -> None:
        """Take one pair.

        ``arl``: mean pairs to a false alarm that holds for it. ``warn``: False keeps it from the
        warning detector.
        """
        self._bar.update(-self.form.difference(student, teacher), weight, arl=arl)
        if warn and self._warn is not None and self._warn_bar is not None:
            below = -self.form.at(self._warn_bar).difference(student, teacher)
            self._warn.update(below, weight, arl=arl)
        # The warning bar may rise with this pair, but only the next pairs are held against it.
        self._proved.add(student, teacher, weight)
        if self._bar.n >= self._policy.warn_min_pairs and self._proved.bar is not None:
            bar = self.form.capped(self._proved.bar)
            if bar != self._warn_bar:
                self._warn_bar = bar
                self.restart_warning()

    @property
    def log_bar(self) -> float | None:
        """Log M of the bar detector now; None before its first pair."""
        return self._bar.bets.log_value if self._bar.n else None

    def restart_warning(self) -> None:
        """Start the warning detector anew at the bar in force."""
        if self._warn_bar is not None:
            self._warn = Detector(self.form.at(self._warn_bar).guard_bound)

    def verdict(self, arl: float) -> GuardVerdict:
        """Conclude; ``arl`` is the mean number of pairs to a false alarm from now on."""
        alarm = self._bar.alarm
        if alarm is not None:
            return GuardVerdict(
                verdict="alarm",
                reason=f"bar guard: no longer {self.form.says(self.form.bar)}: {_reached(alarm)}",
            )
        if self._warn is not None and self._warn.alarm is not None and self._warn_bar is not None:
            return GuardVerdict(
                verdict="warn",
                reason=f"warning: no longer {self.form.says(self._warn_bar)}, which was proved"
                f" after promotion: {_reached(self._warn.alarm)}",
            )
        value = self._bar.log_value
        return GuardVerdict(
            verdict="clear",
            reason=f"{self.form.says(self.form.bar)}: M {'0' if value is None else amount(value)}"
            f" (alarms at {amount(math.log(arl))}) after {self._bar.n} pairs",
        )

    def summaries(self, arl: float) -> tuple[GuardSummary, ...]:
        """Return the numbers of the detectors that run."""
        running = [("bar", self.form.bar, self._bar)]
        if self._warn is not None and self._warn_bar is not None:
            running.append(("warn", self._warn_bar, self._warn))
        return tuple(
            GuardSummary(
                guard=name,
                kind=self.form.kind,
                bar=bar,
                n=detector.n,
                log_m=detector.log_value,
                arl=math.exp(detector.alarm.log_level) if detector.alarm else arl,
            )
            for name, bar, detector in running
        )

    def state(self) -> QualityGuardState:
        """Return a copy that `restore` turns into the same guard, bit for bit."""
        return QualityGuardState(
            form=self.form,
            bar=self._bar.bets.state(),
            proved=self._proved.state(),
            warn_bar=self._warn_bar,
            warn=self._warn.bets.state() if self._warn else None,
            alarm=self._bar.alarm,
            warning=self._warn.alarm if self._warn else None,
        )

    @classmethod
    def restore(
        cls, state: QualityGuardState, *, alpha: float, policy: GuardPolicy
    ) -> QualityGuard:
        """Rebuild from `state`."""
        guard = cls(state.form, alpha=alpha, policy=policy)
        guard._bar = Detector.restore(state.bar, state.alarm)
        guard._proved = Proved.restore(state.form, state.proved)
        guard._warn_bar = state.warn_bar
        guard._warn = Detector.restore(state.warn, state.warning) if state.warn else None
        return guard


class AvailabilityGuard:
    """Error and latency detector over every request sent to the student, shadow too."""

    def __init__(self, policy: GuardPolicy) -> None:
        self._policy = policy
        #: only requests after this count (Unix seconds)
        self.since = 0.0
        self._days = DailyCount()
        self._restart()

    def add(self, ts: float, *, failed: bool, slow: bool | None = False) -> None:
        """Take one request, sent at ``ts``.

        ``failed``: before its first byte. ``slow``: None leaves it out of the latency detector.
        """
        # The traffic of before a return counts for the level, as it did while it came.
        self._days.add(ts)
        if ts <= self.since:
            return
        self.failures += failed
        arl = self.arl
        self._errors.update(float(failed) - self._policy.error_rate, arl=arl)
        if not failed and slow is not None:
            self._slow.update(float(slow) - self._policy.slow_rate, arl=arl)

    def remember(self, ts: float, n: int) -> None:
        """Count ``n`` old requests of one day for the level alone; ``ts``: a time of that day."""
        self._days.add(ts, n)

    def follow(self, since: float) -> None:
        """Start afresh when the rollout has returned from an availability hold at ``since``."""
        if since != self.since:
            self.since = since
            self._restart()

    @property
    def n(self) -> int:
        """Requests since the detectors began."""
        return self._errors.n

    @property
    def arl(self) -> float:
        """Mean number of requests to a false alarm: the policy's, or 30 days of requests."""
        return max(self._policy.availability_arl, _DAYS * self._days.mean)

    def verdict(self) -> GuardVerdict:
        """Conclude from the requests so far: clear or alarm."""
        if self._errors.alarm is not None:
            return GuardVerdict(
                verdict="alarm",
                reason=f"error guard: {self.failures} of {self.n} requests failed before the first"
                f" byte (normal: {self._policy.error_rate:.1%})",
            )
        if self._slow.alarm is not None:
            return GuardVerdict(
                verdict="alarm",
                reason=f"latency guard: more than {self._policy.slow_rate:.1%} of"
                f" {self._slow.n} answers were slow",
            )
        return GuardVerdict(
            verdict="clear", reason=f"{self.failures} of {self.n} requests failed, no alarm"
        )

    def _restart(self) -> None:
        self.failures = 0
        self._errors = Detector(self._policy.error_rate, fractions=AVAILABILITY)
        self._slow = Detector(self._policy.slow_rate, fractions=AVAILABILITY)


def quality_arl(policy: GuardPolicy, pairs_a_day: float, forms: int) -> float:
    """Mean pairs to a false alarm of each bar, so that all bars together keep the policy's."""
    return forms * max(policy.quality_arl, _DAYS * pairs_a_day)


def _reached(alarm: Crossing) -> str:
    return f"M {amount(alarm.log_value)} reached {amount(alarm.log_level)} within {alarm.n} pairs"
