"""What `GET /admin/v1/status` answers. Values only; times are Unix seconds, costs USD."""

from __future__ import annotations

import msgspec

from router.events import Health
from router.stages import HeldReason, Stage
from router.verdicts import EvidenceSummary


class TickStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one tick has been doing since control started."""

    name: str
    runs: int
    failures: int
    #: of the newest run; None: it went well
    last_error: str | None
    #: duration of the last run, seconds
    last_s: float


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A live gateway worker."""

    worker: str
    epoch: int
    version: int
    #: ids of the overrides that it obeys
    overrides: tuple[str, ...]
    #: "ROUTE/STUDENT" of its open circuit breakers
    breakers: tuple[str, ...]


class CollectorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Counters since control started, and what waits in the spool."""

    frames: int = 0
    traces: int = 0
    calls: int = 0
    feedback: int = 0
    gaps: int = 0
    dead_letters: int = 0
    aborted: int = 0
    quarantined: int = 0
    #: of frames in the spool that are not stored yet
    spool_bytes: int = 0
    #: all requests before this moment are in the store, but for those that are open still
    known_to: float = 0.0


class JobStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One fine-tuning job."""

    job_id: str
    route: str
    predictor: str
    dataset_id: str
    distillation_id: str
    trainer: str
    status: str
    #: 0..1; None: the trainer does not say
    progress: float | None
    error: str | None
    started: float


class HappeningStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a distillation, told as it happened."""

    ts: float
    event: str
    message: str
    about: str | None
    progress: float | None


class DistillationStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The newest distillation of a route."""

    distillation_id: str
    stage: str
    started: float
    since: float
    chosen: str | None
    reason: str | None
    jobs: tuple[JobStatus, ...]


class ShadowStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What replays cost today, and why there are none."""

    #: None: replays go on
    paused: str | None
    #: why no student-served request is replayed on the teacher; None: they are
    no_reverse: str | None
    spent_usd: float
    #: replays of today whose cost nobody knows
    spent_unknown: int
    daily_budget_usd: float


class PairCount(msgspec.Struct, frozen=True, kw_only=True):
    """Pairs of one kind and outcome."""

    kind: str
    outcome: str
    n: int
    #: of those, behind the watermark
    consumed: int


class StudentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One student's rollout."""

    student: str
    trainer: str | None
    k: int
    stage: Stage
    #: of HELD: the stage that it leads back to; else the stage
    step: Stage
    weight: float
    held_for: tuple[HeldReason, ...]
    #: when the stage was entered
    entered: float
    #: why it stands where it stands, or why nothing moves
    why: str
    evidence: EvidenceSummary | None
    pairs: tuple[PairCount, ...]
    health: Health | None
    #: hash of the report that an approval must name; None: nobody has asked for one yet
    report: str | None


class RollbackStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The last time that all traffic went back to the teacher."""

    ts: float
    #: rollback, kill or quality_alarm
    event: str
    student: str
    actor: str
    reason: str
    #: from the write of the override to the last acknowledgement; None: not measured by control
    seconds: float | None = None
    workers: tuple[str, ...] = ()
    #: live workers that did not acknowledge in time
    missing: tuple[str, ...] = ()
    #: False: the workers' acknowledgements are still awaited
    done: bool = False


class RouteStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One route."""

    route: str
    #: UPSTREAM/MODEL
    teacher: str
    #: module:factory; None: a plain route
    program: str | None
    program_version: str
    metric: str | None
    metric_hash: str
    killed: bool
    traces: int
    student_served: int
    fallbacks: int
    failed: int
    labelled: int
    #: of those, answered by a student: their scores are in the pairs
    labelled_student: int = 0
    #: known costs of all answers, and how many have an unknown cost
    cost_usd: float
    cost_unknown: int
    teacher_p95_ms: float | None
    scored: int
    passing: int
    not_scored: int
    #: the commonest reason of those, and how often it was given
    why_not_scored: str | None = None
    why_not_scored_n: int = 0
    mean_score: float | None
    usable_rows: int
    after_rows: int | None
    #: why no distillation starts by itself now; None: one is due
    distil_waits: str | None
    distillation: DistillationStatus | None
    happenings: tuple[HappeningStatus, ...]
    shadow: ShadowStatus
    #: newest first
    students: tuple[StudentStatus, ...]
    last_rollback: RollbackStatus | None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at a glance."""

    now: float
    started: float
    code_version: str
    config_hash: str
    snapshot_epoch: int
    snapshot_version: int
    routes: tuple[RouteStatus, ...]
    workers: tuple[WorkerStatus, ...]
    collector: CollectorStatus
    ticks: tuple[TickStatus, ...]
    #: what a person should look at, in words
    problems: tuple[str, ...]


class TraceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded request."""

    trace_id: str
    ts: float
    route: str
    model: str
    state: str
    served_by: str
    student: str | None
    stage: str | None
    reason: str
    fallback: str | None
    status: int | None
    latency_ms: float | None
    tokens_in: int | None
    tokens_out: int | None
    cost_usd: float | None
    audit: bool
    conversation_id: str | None
    text: str | None
    answer: str | None


class Ordered(msgspec.Struct, frozen=True, kw_only=True):
    """What a person's command did."""

    route: str
    order: str
    student: str
    #: False: it was so already, nothing changed
    changed: bool
    stage: Stage | None
    weight: float
    reason: str
    #: rollback and kill: which workers obey, and after how long
    rollback: RollbackStatus | None = None
    #: rollback and kill: the order is in force, and why it is not recorded yet; None: it is
    problem: str | None = None


class DistillationAsked(msgspec.Struct, frozen=True, kw_only=True):
    """A distillation that was asked for, or the one that runs already."""

    route: str
    distillation_id: str
    #: False: it was running already
    changed: bool
