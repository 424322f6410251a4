"""Every process that one bar of one candidate needs: gate, bounds, negative control, guard."""

from __future__ import annotations

import msgspec

from router.bets import Bets, BetsState
from router.bounds import (
    Proved,
    ProvedState,
    TimeAverage,
    TimeAverageState,
    anytime_p,
    pairs_needed,
    tipping_point,
)
from router.forms import Form
from router.gate import Gate, GateState
from router.guard import QualityGuard, QualityGuardState
from router.policy import Policy
from router.verdicts import FormSummary


class FormState(msgspec.Struct, frozen=True, kw_only=True):
    """JSON-safe copy of the processes of one bar."""

    gate: GateState
    futility_all: BetsState
    control: BetsState
    average: TimeAverageState
    proved: ProvedState
    guard: QualityGuardState | None
    returning: GateState | None


class FormEvidence:
    """Every process that one bar needs."""

    def __init__(self, form: Form, alpha_k: float, policy: Policy) -> None:
        self.form = form
        self._policy = policy
        self._alpha_k = alpha_k
        self.gate = Gate(form, alpha=alpha_k, policy=policy.gate)
        self.futility_all = Bets(form.guard_bound)
        self.control = Bets(form.guard_bound)
        self.average = TimeAverage(-form.gate_bound, form.guard_bound)
        self.proved = Proved(form, form.grid(), policy.gate.alpha)
        self.guard: QualityGuard | None = None
        self.returning: Gate | None = None

    def restart_guard(self, *, runs: bool) -> None:
        alpha, policy = self._policy.gate.alpha, self._policy.guard
        self.guard = QualityGuard(self.form, alpha=alpha, policy=policy) if runs else None

    def restart_return(self, *, runs: bool) -> None:
        # A return ends a hold of this very student, so it spends no alpha of a new candidate.
        policy = self._policy.gate
        self.returning = Gate(self.form, alpha=policy.alpha, policy=policy) if runs else None

    def count(self, student: float, teacher: float, control: float | None, weight: float) -> None:
        """Take a pair that counts in the gate."""
        self.gate.add(student, teacher, weight)
        self.average.add(weight * self.form.difference(student, teacher))
        self.proved.add(student, teacher, weight)
        if control is not None:
            self.control.update(-self.form.difference(control, teacher), weight)

    def summary(self, recent: float | None) -> FormSummary:
        """Return the numbers; ``recent`` is the mean of D over the latest span."""
        gate, average, form = self.gate, self.average, self.form
        alpha = self._policy.gate.alpha
        return FormSummary(
            kind=form.kind,
            bar=form.bar,
            log_e=gate.good.log_value,
            log_e_max=gate.good.log_max,
            log_futility=gate.bad.log_max,
            log_futility_all=self.futility_all.log_max,
            mean_difference=average.mean,
            recent_mean=recent,
            proved=self.proved.bar,
            time_average=average.lower(alpha) if average.n else None,
            p=anytime_p(gate.good.log_max),
            pairs_needed=pairs_needed(gate.good.log_value, gate.n, self._alpha_k),
            tipping_point=tipping_point(gate.good.log_wealth, self._alpha_k),
            log_control=self.control.log_max,
        )

    def state(self) -> FormState:
        return FormState(
            gate=self.gate.state(),
            futility_all=self.futility_all.state(),
            control=self.control.state(),
            average=self.average.state(),
            proved=self.proved.state(),
            guard=self.guard.state() if self.guard else None,
            returning=self.returning.state() if self.returning else None,
        )

    def load(self, state: FormState) -> None:
        gate, guard = self._policy.gate, self._policy.guard
        self.gate = Gate.restore(state.gate, alpha=self.gate.alpha, policy=gate)
        self.futility_all = Bets.restore(state.futility_all)
        self.control = Bets.restore(state.control)
        self.average = TimeAverage.restore(state.average)
        self.proved = Proved.restore(self.form, state.proved)
        if state.guard is not None:
            self.guard = QualityGuard.restore(state.guard, alpha=gate.alpha, policy=guard)
        if state.returning is not None:
            self.returning = Gate.restore(state.returning, alpha=gate.alpha, policy=gate)
