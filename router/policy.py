"""The thresholds, steps, rates and limits that the user sets, with their defaults.

Values only. Every duration and count is here, so that a test (or the demo) can scale time.
Units: seconds for ``*_s``; shares and rates are 0..1.
"""

from __future__ import annotations

import msgspec

DAY_S = 86_400.0


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What one ramp step needs before the next one."""

    #: requests that the student answered in this step
    served: int
    dwell_s: float


class GatePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The bar of the promotion test. At least one of the three forms is set."""

    #: ratio form: student >= retention x teacher
    retention: float | None = 0.95
    #: absolute form: student >= min_score; with ``retention`` both must pass
    min_score: float | None = None
    #: margin form: student >= teacher - margin
    margin: float | None = None
    #: spent over all candidates of a route: alpha_k = alpha * 6 / (pi k)^2
    alpha: float = 0.05
    #: of the futility process
    beta: float = 0.05
    min_pairs: int = 100
    max_pairs: int = 5_000
    max_s: float = 14 * DAY_S
    #: label coverage below this blocks promotion
    min_label_coverage: float = 0.9
    #: outage windows over this share of the pairs' time block promotion
    max_outage_share: float = 0.1
    #: the mean of D over this span must be positive
    recent_s: float = 7 * DAY_S


class RolloutPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The way to full traffic."""

    r1: Step = Step(served=100, dwell_s=3_600)
    r5: Step = Step(served=500, dwell_s=4 * 3_600)
    r25: Step = Step(served=1_000, dwell_s=DAY_S)
    r50: Step = Step(served=1_000, dwell_s=DAY_S)
    #: share of the keys that always stay on the teacher
    holdout: float = 0.02
    #: ``first``: a person approves the first exposure; ``every``: each step; ``none``: nobody
    approval: str = "first"
    ready_expires_s: float = 7 * DAY_S
    #: after this many times the dwell without enough requests: HELD, too_little_data
    patience: float = 5.0
    #: no stage advances this long after control's start
    settle_s: float = 600.0
    #: before a rolled-back student may be tried again
    cool_down_s: float = DAY_S
    lease_s: float = 60.0
    live_lease_s: float = 600.0
    lease_renew_s: float = 10.0
    #: decide and log, but keep every weight at 0
    dry_run: bool = False


class GuardPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The detectors that never end."""

    #: mean pairs to a false quality alarm, at least
    quality_arl: float = 20_000.0
    #: mean requests to a false availability alarm, at least
    availability_arl: float = 100_000.0
    #: p0 of the error guard
    error_rate: float = 0.02
    #: p0 of the latency guard
    slow_rate: float = 0.05
    #: a student's answer later than this is slow, milliseconds; None: 1.5 x the teacher's p95
    latency_slo_ms: float | None = None
    #: the warn detector appears after this many fresh pairs
    warn_min_pairs: int = 1_000
    #: healthy dwell before a return from HELD (availability): first, second, third, later
    return_dwell_s: tuple[float, float, float, float] = (60.0, 300.0, 900.0, 3_600.0)
    #: this many availability holds inside the window end in ROLLED_BACK (flapping)
    flap_holds: int = 5
    flap_window_s: float = DAY_S
    flap_window_requests: int = 10_000
    #: unhealthy this long: ROLLED_BACK (gone)
    gone_after_s: float = 7 * DAY_S
    #: all breakers open this long: availability alarm
    breakers_open_s: float = 60.0


class ShadowPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests are replayed for evidence, and at what cost."""

    #: share of teacher-served requests that are replayed on the student
    sample_rate: float = 0.1
    #: share of student-served requests that are replayed on the teacher
    reverse_rate: float = 0.05
    #: share of requests in the audit sample
    audit_rate: float = 0.0
    daily_budget_usd: float = 5.0
    concurrency: int = 4
    #: an unlabelled pair is dropped after this
    label_deadline_s: float = DAY_S
    #: one replay's deadline
    timeout_s: float = 60.0


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides about one route's students."""

    gate: GatePolicy = GatePolicy()
    rollout: RolloutPolicy = RolloutPolicy()
    guard: GuardPolicy = GuardPolicy()
    shadow: ShadowPolicy = ShadowPolicy()
