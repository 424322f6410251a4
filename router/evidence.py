"""The evidence about one candidate: a fold over consumed pairs, in request order.

It decides which pairs count (label coverage, near-duplicates, outage windows, negative control)
and feeds gate and guards with them. The state can be saved and loaded bit for bit; it grows by
about 30 bytes for each cluster of near-duplicates, so save it with each batch of pairs and keep
the newest copy only.

`Evidence.add` costs about 0.1 ms; `Evidence.summary` about 2 ms, as the bounds of the averages are
found by bisection only when asked for.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

from router.bounds import TimeAverage, TimeAverageState
from router.duplicates import FirstCopies, GuardCopies, GuardCopiesState
from router.errors import EvidenceError
from router.form_evidence import FormEvidence, FormState
from router.forms import forms_of
from router.gate import alpha_for, blockers, judge
from router.guard import CLEAR, quality_arl
from router.outages import Outages, OutagesState
from router.pairs import Marks, Outcome, Pair, check
from router.policy import Policy
from router.recent import Recent, RecentState
from router.verdicts import EvidenceSummary, GateVerdict, GuardVerdict, Interval

_LABELLED = (Outcome.SCORED, Outcome.UNLABELLED, Outcome.NOT_SCORED)
_SEVERITY = {"clear": 0, "warn": 1, "alarm": 2}


class Reading(NamedTuple):
    """Where the evidence stands after a pair: cheap enough to be taken after each one, for plots.

    Of several bars ``log_e`` is the lowest, as every bar must pass, and the others are the highest,
    as one is enough to reject or to alarm. ``log_guard`` is None while no guard runs.
    """

    log_e: float
    log_futility: float
    log_guard: float | None
    teacher: float | None
    student: float | None


class EvidenceState(msgspec.Struct, frozen=True, kw_only=True):
    """JSON-safe copy of `Evidence`."""

    k: int
    seq: int
    marks: Marks
    outcomes: dict[str, int]
    step_outcomes: dict[str, int] = {}
    forms: tuple[FormState, ...]
    student: TimeAverageState
    teacher: TimeAverageState
    recent: RecentState
    outages: OutagesState
    gate_clusters: tuple[str, ...]
    return_clusters: tuple[str, ...]
    guard_clusters: GuardCopiesState


class Evidence:
    """What the pairs of candidate ``k`` say, under a policy and the rollout's marks."""

    def __init__(self, policy: Policy, *, k: int, marks: Marks) -> None:
        self._policy = policy
        self.k = k
        self.marks = Marks()
        #: last consumed pair
        self.seq = 0
        self._alpha_k = alpha_for(k, policy.gate.alpha)
        self._forms = tuple(FormEvidence(f, self._alpha_k, policy) for f in forms_of(policy.gate))
        self._outcomes: dict[str, int] = {}
        #: the same since the present stage began
        self._step_outcomes: dict[str, int] = {}
        self._student = TimeAverage(0.0, 1.0)
        self._teacher = TimeAverage(0.0, 1.0)
        self._recent = Recent(policy.gate.recent_s)
        self._outages = Outages()
        self._gate_copies = FirstCopies()
        self._return_copies = FirstCopies()
        self._guard_copies = GuardCopies()
        self.follow(marks)

    # Feeding

    def add(self, pair: Pair) -> None:
        """Consume the next pair; a pair that must not be evidence is refused, nothing changes."""
        check(pair, after=self.seq, where=f"pair {pair.seq} of candidate {self.k}")
        outcome = pair.outcome
        self.seq = pair.seq
        self._outages.saw(pair.ts)
        _count(self._outcomes, outcome)
        if _after(pair.ts, self.marks.step_from):
            _count(self._step_outcomes, outcome)
        if outcome is Outcome.SCORED and pair.student is not None and pair.teacher is not None:
            self._score(pair, pair.student, pair.teacher)

    def exclude(self, start: float, end: float) -> None:
        """Declare an outage window (Unix seconds), for the share of the time that is left out.

        Which pairs lie in it is the caller's to say (`Outcome.OUTAGE`): it depends on when each
        side was asked.
        """
        self._outages.add(start, end)

    def follow(self, marks: Marks) -> None:
        """Begin, restart or end guards as the rollout says; call it after each of its events.

        A replay from the first pair may be given the newest marks at once: it ends in the same
        state.
        """
        old, self.marks = self.marks, marks
        if marks.step_from != old.step_from:
            self._step_outcomes = {}
        if marks.guard_from != old.guard_from:
            self._guard_copies.restart()
            for form in self._forms:
                form.restart_guard(runs=marks.guard_from is not None)
        if marks.warn_from != old.warn_from:
            for form in self._forms:
                if form.guard is not None:
                    form.guard.restart_warning()
        if marks.return_from != old.return_from:
            self._return_copies = FirstCopies()
            for form in self._forms:
                form.restart_return(runs=marks.return_from is not None)

    # Verdicts

    def gate(self, now: float) -> GateVerdict:
        """Conclude about promotion at ``now`` (Unix seconds)."""
        gates = [form.gate for form in self._forms]
        return judge(gates, self._blockers(now), self._cap(now))

    def guard(self) -> GuardVerdict:
        """Conclude about the quality of a student that is (about to be) exposed."""
        arl = self._arl
        verdicts = [form.guard.verdict(arl) for form in self._forms if form.guard is not None]
        return max(verdicts, key=lambda v: _SEVERITY[v.verdict], default=CLEAR)

    @property
    def recovered(self) -> bool:
        """Whether the gate process begun at the last warning passes every bar."""
        return all(form.returning is not None and form.returning.passes for form in self._forms)

    def summary(self, now: float) -> EvidenceSummary:
        """Return all numbers that decisions, event log and report need."""
        half = self._policy.gate.alpha / 2
        recent = self._recent.means(now)
        return EvidenceSummary(
            seq=self.seq,
            ts=now,
            k=self.k,
            n=self._forms[0].gate.n,
            n_all=self._forms[0].futility_all.n,
            step_scored=self._step_outcomes.get(Outcome.SCORED.value, 0),
            step_coverage=_label_coverage(self._step_outcomes),
            alpha_k=self._alpha_k,
            threshold=1.0 / self._alpha_k,
            passes=all(form.gate.passes for form in self._forms),
            mean_student=self._student.mean,
            mean_teacher=self._teacher.mean,
            student_interval=_interval(self._student, half),
            teacher_interval=_interval(self._teacher, half),
            forms=tuple(
                form.summary(None if recent is None else recent[i])
                for i, form in enumerate(self._forms)
            ),
            gate=self.gate(now),
            guard=self.guard(),
            guards=tuple(
                line
                for form in self._forms
                if form.guard is not None
                for line in form.guard.summaries(self._arl)
            ),
            recovered=self.recovered,
            control_n=self._forms[0].control.n,
            control_rejected=self._control_rejected,
            label_coverage=_label_coverage(self._outcomes),
            outcomes=dict(sorted(self._outcomes.items())),
            outage_windows=self._outages.count,
            outage_share=self._outage_share,
            pairs_a_day=self._guard_copies.pairs_a_day,
        )

    @property
    def reading(self) -> Reading:
        """Where gate, guard and mean scores stand now."""
        guards = [form.guard.log_bar for form in self._forms if form.guard is not None]
        return Reading(
            log_e=min(form.gate.good.log_value for form in self._forms),
            log_futility=max(form.gate.bad.log_value for form in self._forms),
            log_guard=max((log for log in guards if log is not None), default=None),
            teacher=self._teacher.mean,
            student=self._student.mean,
        )

    # State

    def state(self) -> EvidenceState:
        """Return a copy that `restore` turns into the same evidence, bit for bit."""
        return EvidenceState(
            k=self.k,
            seq=self.seq,
            marks=self.marks,
            outcomes=dict(sorted(self._outcomes.items())),
            step_outcomes=dict(sorted(self._step_outcomes.items())),
            forms=tuple(form.state() for form in self._forms),
            student=self._student.state(),
            teacher=self._teacher.state(),
            recent=self._recent.state(),
            outages=self._outages.state(),
            gate_clusters=self._gate_copies.state(),
            return_clusters=self._return_copies.state(),
            guard_clusters=self._guard_copies.state(),
        )

    @classmethod
    def restore(cls, policy: Policy, state: EvidenceState) -> Evidence:
        """Rebuild from `state`; refuse a state that was made for other bars."""
        bars = tuple(form.gate.form for form in state.forms)
        if bars != forms_of(policy.gate):
            raise EvidenceError(
                f"the stored evidence of candidate {state.k} was gathered for {bars}, the policy"
                f" says {forms_of(policy.gate)}: another bar needs fresh evidence"
            )
        evidence = cls(policy, k=state.k, marks=Marks())
        evidence.marks = state.marks
        evidence.seq = state.seq
        evidence._outcomes = dict(state.outcomes)
        evidence._step_outcomes = dict(state.step_outcomes)
        for form, saved in zip(evidence._forms, state.forms, strict=True):
            form.load(saved)
        evidence._student = TimeAverage.restore(state.student)
        evidence._teacher = TimeAverage.restore(state.teacher)
        evidence._recent = Recent.restore(state.recent)
        evidence._outages = Outages.restore(state.outages)
        evidence._gate_copies = FirstCopies(frozenset(state.gate_clusters))
        evidence._return_copies = FirstCopies(frozenset(state.return_clusters))
        evidence._guard_copies = GuardCopies.restore(state.guard_clusters)
        return evidence

    # Inside

    def _score(self, pair: Pair, student: float, teacher: float) -> None:
        differences = tuple(form.form.difference(student, teacher) for form in self._forms)
        self._recent.add(pair.ts, differences, pair.weight)
        for form, difference in zip(self._forms, differences, strict=True):
            form.futility_all.update(-difference, pair.weight)
        if self._gate_copies.counts(pair.cluster):
            self._student.add(student)
            self._teacher.add(teacher)
            for form in self._forms:
                form.count(student, teacher, pair.control, pair.weight)
        self._feed_guards(pair, student, teacher)
        self._guard_copies.remember(pair.cluster, pair.ts)

    def _feed_guards(self, pair: Pair, student: float, teacher: float) -> None:
        marks = self.marks
        if _after(pair.ts, marks.guard_from) and self._guard_copies.counts(pair.cluster, pair.ts):
            warn = marks.warn_from is None or pair.ts > marks.warn_from
            # Of the pairs before this one: so a replay finds the same level.
            arl = self._arl
            for form in self._forms:
                if form.guard is not None:
                    form.guard.add(student, teacher, pair.weight, arl=arl, warn=warn)
        if _after(pair.ts, marks.return_from) and self._return_copies.counts(pair.cluster):
            for form in self._forms:
                if form.returning is not None:
                    form.returning.add(student, teacher, pair.weight)

    def _blockers(self, now: float) -> list[str]:
        return blockers(
            self._policy.gate,
            n=self._forms[0].gate.n,
            control_rejected=self._control_rejected,
            control_n=self._forms[0].control.n,
            label_coverage=_label_coverage(self._outcomes),
            outage_share=self._outage_share,
            recent=self._recent.means(now),
            log_futility_all=max(form.futility_all.log_max for form in self._forms),
        )

    def _cap(self, now: float) -> str | None:
        """Say why the search ends now, if it does."""
        policy, n = self._policy.gate, self._forms[0].gate.n
        if n >= policy.max_pairs * (1 + self.marks.extensions):
            return f"undecided after {n} pairs"
        if now - self.marks.cap_from >= policy.max_s:
            return f"undecided after {policy.max_s / 86_400.0:.3g} days with {n} pairs"
        return None

    @property
    def _outage_share(self) -> float:
        """Of the present stage's time: the outage that held it must not hold it nine times over.

        SHADOW has no mark of its own, and answers for the whole span.
        """
        return self._outages.share(self.marks.step_from)

    @property
    def _control_rejected(self) -> bool:
        level = -math.log(self._policy.gate.beta)
        return any(form.control.log_max >= level for form in self._forms)

    @property
    def _arl(self) -> float:
        return quality_arl(self._policy.guard, self._guard_copies.pairs_a_day, len(self._forms))


def _count(outcomes: dict[str, int], outcome: Outcome) -> None:
    outcomes[outcome.value] = outcomes.get(outcome.value, 0) + 1


def _label_coverage(outcomes: dict[str, int]) -> float | None:
    scored, *missing = (outcomes.get(outcome.value, 0) for outcome in _LABELLED)
    total = scored + sum(missing)
    return scored / total if total else None


def _after(ts: float, mark: float | None) -> bool:
    return mark is not None and ts > mark


def _interval(average: TimeAverage, alpha: float) -> Interval | None:
    if not average.n:
        return None
    return Interval(average.lower(alpha), average.upper(alpha))
