"""What gate and guards conclude, and the numbers behind it, as values for decisions and reports."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import msgspec


class GateVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate concludes from the pairs so far."""

    verdict: Literal["promote", "reject", "collect", "inconclusive"]
    #: in words and numbers
    reason: str


class GuardVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a guard concludes; availability guards never warn."""

    verdict: Literal["clear", "warn", "alarm"]
    #: in words and numbers
    reason: str


class Interval(NamedTuple):
    """Where the average so far lies, at every look."""

    low: float
    high: float


class FormSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One bar of the gate. Logarithms are natural; D is positive above the bar."""

    #: retention, min_score or margin
    kind: str
    bar: float
    log_e: float
    log_e_max: float
    #: highest so far, of the futility process
    log_futility: float
    #: the same over all copies of near-duplicates
    log_futility_all: float
    mean_difference: float | None
    #: over all copies, in the policy's last ``recent_s``; None: no pairs then
    recent_mean: float | None
    #: the strictest bar that the pairs have proved, such as R_L; None: none of the grid
    proved: float | None
    #: "the mean of D so far is at least this"
    time_average: float | None
    #: anytime-valid p-value
    p: float
    #: to 1/alpha_k at the present pace; None while E does not grow
    pairs_needed: int | None
    #: missing pairs, all lost by the student, that would take E below 1/alpha_k
    tipping_point: int
    #: futility of the negative control, highest so far
    log_control: float


class GuardSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One detector."""

    #: bar or warn
    guard: str
    kind: str
    bar: float
    n: int
    #: now, or when it alarmed; None before the first pair
    log_m: float | None
    #: mean pairs to a false alarm, at that moment
    arl: float


class EvidenceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """All numbers about one candidate that the event log, the report and decisions need."""

    #: last consumed pair
    seq: int
    ts: float
    k: int
    #: pairs in the gate, each cluster of near-duplicates once
    n: int
    #: scored pairs, all copies
    n_all: int
    #: pairs scored since the present stage began
    step_scored: int = 0
    #: share of the pairs since then whose label arrived; None before the first
    step_coverage: float | None = None
    alpha_k: float
    #: 1 / alpha_k
    threshold: float
    #: E of every form is at the threshold now
    passes: bool
    mean_student: float | None
    mean_teacher: float | None
    student_interval: Interval | None
    teacher_interval: Interval | None
    forms: tuple[FormSummary, ...]
    gate: GateVerdict
    guard: GuardVerdict
    guards: tuple[GuardSummary, ...]
    #: the gate process begun at the last warning passes the bar
    recovered: bool
    control_n: int
    control_rejected: bool
    #: share of pairs whose label arrived; None before the first
    label_coverage: float | None
    #: consumed pairs by outcome: scored, or why they were dropped
    outcomes: dict[str, int]
    outage_windows: int
    #: share of the pairs' time inside outage windows
    outage_share: float
    #: scored pairs on a whole day, all copies; 0 while there was none
    pairs_a_day: float = 0.0

    @property
    def log_e(self) -> float:
        """Of the form that is furthest from passing."""
        return min(form.log_e for form in self.forms)


def amount(log: float) -> str:
    """Write exp(``log``) for people, however large it is."""
    if log < math.log(1e6):
        value = math.exp(log)
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return f"10^{log / math.log(10):.1f}"
