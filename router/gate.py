"""The promotion test: one-sided, on paired scores, valid at any look.

Promoting rejects "at no time so far was the student, given the past, better than the bar on
average". That it still is, the current E, the recent mean and the guard must say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from router.bets import Bets, BetsState
from router.errors import EvidenceError
from router.forms import Form
from router.pairs import check_scores
from router.policy import GatePolicy
from router.verdicts import GateVerdict, amount


def alpha_for(k: int, alpha: float) -> float:
    """Return the error that the k-th candidate of a route may spend; sums to ``alpha`` for ever."""
    if k < 1:
        raise EvidenceError(f"candidate number {k}: the first candidate of a route is 1")
    return alpha * 6.0 / (math.pi * k) ** 2


class GateState(msgspec.Struct, frozen=True, kw_only=True):
    """JSON-safe copy of `Gate`."""

    form: Form
    good: BetsState
    bad: BetsState


class Gate:
    """The test of one bar: E for "good enough", and its futility process."""

    def __init__(self, form: Form, *, alpha: float, policy: GatePolicy) -> None:
        self.form = form
        self.alpha = alpha
        self._policy = policy
        self.good = Bets(form.gate_bound)
        self.bad = Bets(form.guard_bound)

    def add(self, student: float, teacher: float, weight: float = 1.0) -> None:
        """Take one pair of scores in [0, 1]."""
        check_scores(student, teacher)
        difference = self.form.difference(student, teacher)
        self.good.update(difference, weight)
        self.bad.update(-difference, weight)

    @property
    def n(self) -> int:
        """Pairs so far."""
        return self.good.n

    @property
    def passes(self) -> bool:
        """E is at the threshold now; its past highs don't count."""
        return self.n >= self._policy.min_pairs and self.good.log_value >= -math.log(self.alpha)

    @property
    def fails(self) -> bool:
        """Futility has ever been proved, and E does not pass now."""
        enough = self.n >= self._policy.min_pairs
        return enough and not self.passes and self.bad.log_max >= -math.log(self._policy.beta)

    def state(self) -> GateState:
        """Return a copy that `restore` turns into the same gate, bit for bit."""
        return GateState(form=self.form, good=self.good.state(), bad=self.bad.state())

    @classmethod
    def restore(cls, state: GateState, *, alpha: float, policy: GatePolicy) -> Gate:
        """Rebuild from `state`."""
        gate = cls(state.form, alpha=alpha, policy=policy)
        gate.good = Bets.restore(state.good)
        gate.bad = Bets.restore(state.bad)
        return gate


def judge(gates: Sequence[Gate], blockers: Sequence[str], cap: str | None) -> GateVerdict:
    """Conclude from all bars together: every one must pass, each at alpha_k.

    ``blockers``: what else stands against promotion. ``cap``: why the search ends now, if so.
    """
    failed = next((gate for gate in gates if gate.fails), None)
    if failed is not None:
        return GateVerdict(verdict="reject", reason=_not_good_enough(failed))
    short = [gate for gate in gates if not gate.passes]
    if not short and not blockers:
        return GateVerdict(verdict="promote", reason="; ".join(map(_standing, gates)))
    why = "; ".join([*(_standing(gate) for gate in short or gates), *blockers])
    if cap is not None:
        return GateVerdict(verdict="inconclusive", reason=f"{cap}: {why}")
    return GateVerdict(verdict="collect", reason=why)


def blockers(
    policy: GatePolicy,
    *,
    n: int,
    control_rejected: bool,
    control_n: int,
    label_coverage: float | None,
    outage_share: float,
    recent: tuple[float, ...] | None,
    log_futility_all: float,
) -> list[str]:
    """Say what, beside E, stands against promotion. Missing data never promotes.

    ``n``: pairs in the gate. Below ``min_pairs`` the gate can't pass anyway: what only more pairs
    can show is not told yet, as a student that has just begun would look broken.
    ``recent``: the mean of D of each bar over the policy's last ``recent_s``, all copies;
    ``log_futility_all``: the highest futility of any bar so far, all copies.
    """
    found = []
    enough = n >= policy.min_pairs
    if enough and not control_rejected:
        found.append(
            "negative control: this metric cannot tell a shuffled answer from a real one"
            f" (not rejected within {control_n} pairs)"
        )
    if label_coverage is not None and label_coverage < policy.min_label_coverage:
        found.append(
            f"label coverage {label_coverage:.3f} is below {policy.min_label_coverage:.2f}"
        )
    if outage_share > policy.max_outage_share:
        found.append(
            f"outage windows cover {outage_share:.1%} of the pairs' time, above"
            f" {policy.max_outage_share:.0%}"
        )
    days = f"the last {policy.recent_s / 86_400.0:.3g} days"
    if enough and recent is None:
        found.append(f"no pair in {days}")
    elif enough and recent is not None and min(recent) <= 0.0:
        found.append(
            f"mean D {min(recent):+.4f} over all pairs of {days}, every repeated request counted,"
            " is not above 0"
        )
    if log_futility_all >= -math.log(policy.beta):
        found.append(
            "with every repeated request counted, the student was shown to be below the bar: this"
            " evidence promotes it no more; train another student, or, if it serves, roll it"
            " back and retry it, which begins the evidence afresh"
        )
    return found


def _standing(gate: Gate) -> str:
    needs = amount(-math.log(gate.alpha))
    words = f"{gate.form.says(gate.form.bar)}: E {amount(gate.good.log_value)} (needs {needs})"
    if gate.n < gate._policy.min_pairs:
        return f"{words} after {gate.n} of at least {gate._policy.min_pairs} pairs"
    return f"{words} after {gate.n} pairs"


def _not_good_enough(gate: Gate) -> str:
    return (
        f"below the bar ({gate.form.says(gate.form.bar)}): futility E {amount(gate.bad.log_max)}"
        f" reached {amount(-math.log(gate._policy.beta))} within {gate.n} pairs"
    )
