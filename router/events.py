"""What can happen to a rollout, what is known when it does, and the row that is stored."""

from __future__ import annotations

import enum

import msgspec

from router.guard import CLEAR
from router.stages import Stage
from router.verdicts import EvidenceSummary, GuardVerdict

#: Actor of everything that no person ordered.
AUTO = "auto"


class Event(enum.StrEnum):
    """An event of the state table."""

    #: a student came out of distilling (or a candidate was named)
    STUDENT_REGISTERED = "student_registered"
    #: the gate passed, with everything else that promotion needs
    GATE_PROMOTE = "gate_promote"
    #: futility was proved
    GATE_REJECT = "gate_reject"
    #: cap of pairs or time reached
    GATE_INCONCLUSIVE = "gate_inconclusive"
    #: consent to one report
    APPROVE = "approve"
    #: READY for too long
    EXPIRE = "expire"
    #: teacher, metric or bar changed
    CHANGED = "changed"
    #: the step's conditions hold
    ADVANCE = "advance"
    #: the warning detector fired
    WARN = "warn"
    #: a freeze window is in force
    FREEZE_START = "freeze_start"
    #: no freeze window is in force any more
    FREEZE_END = "freeze_end"
    #: too few requests for far too long
    TOO_LITTLE_DATA = "too_little_data"
    #: a person holds the rollout
    PAUSE = "pause"
    #: a person ends a hold
    RESUME = "resume"
    #: a fresh gate process, begun at the warning, passes the bar
    RECOVERED = "recovered"
    #: error or latency guard, endpoint gone, or all breakers open
    AVAILABILITY_ALARM = "availability_alarm"
    #: healthy for the dwell
    HEALTHY = "healthy"
    #: unhealthy for days
    UNHEALTHY_TOO_LONG = "unhealthy_too_long"
    #: bar guard, or a required slice
    QUALITY_ALARM = "quality_alarm"
    #: all traffic of the student back to the teacher
    ROLLBACK = "rollback"
    #: model deprecated or artefact lost
    LOST = "lost"
    #: try a rolled-back student again, with fresh evidence
    RETRY = "retry"
    #: go on searching after the cap, with the same evidence
    EXTEND = "extend"
    #: give an undecided student up
    REJECT = "reject"
    #: a newer student is LIVE
    SUPERSEDED = "superseded"
    #: the route is off for students
    KILL = "kill"
    #: the route is on again
    UNKILL = "unkill"
    #: the replayed evidence is not the stored one
    REPLAY_MISMATCH = "replay_mismatch"
    #: the ramp so far was a dry run, and dry running is off now
    DRY_RUN_ENDED = "dry_run_ended"


#: Only a person gives these; `APPROVE` may be automatic where the policy asks nobody.
COMMANDS = frozenset(
    {
        Event.APPROVE,
        Event.PAUSE,
        Event.RESUME,
        Event.ROLLBACK,
        Event.RETRY,
        Event.EXTEND,
        Event.REJECT,
        Event.KILL,
        Event.UNKILL,
    }
)


class Hashes(msgspec.Struct, frozen=True, kw_only=True):
    """What a transition was decided under."""

    config: str = ""
    #: teacher and, for a program, its version
    teacher: str = ""
    #: of the artefact
    student: str = ""
    metric: str = ""
    #: `router.forms.bar_text`
    bar: str = ""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Availability of one student, filled by control."""

    #: requests sent to the student so far, shadow too
    sent: int = 0
    #: of those, failed before the first byte
    failed: int = 0
    #: requests that the student answered since the rollout's `entered`
    served: int = 0
    #: of the availability guard
    availability: GuardVerdict = CLEAR
    #: the breaker is open in every worker since (Unix seconds)
    breakers_open_since: float | None = None
    #: why the endpoint can't be reached at all; None: it can
    unreachable: str | None = None
    #: health probes and shadow requests without a failure since (Unix seconds)
    healthy_since: float | None = None
    #: all requests that ended before this are in these figures (Unix seconds); None: up to now
    known_to: float | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The world around one rollout, filled by control."""

    health: Health = Health()
    hashes: Hashes = Hashes()
    #: hash of the current report; None: there is none yet
    report: str | None = None
    #: the freeze window in force, in words; None: none
    freeze: str | None = None
    #: why the model or artefact is gone for good; None: it is there
    lost: str | None = None
    #: why the teacher could not take the traffic back; None: it could
    capacity: str | None = None
    #: when control started; no stage advances for a while after that
    control_started: float = 0.0


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """An event that asks for a transition, with all that its conditions may look at."""

    event: Event
    #: "" for the route itself (kill, unkill, rollback with nothing serving)
    student: str
    #: Unix seconds
    ts: float
    #: ``auto``, ``kill``, or a person's name
    actor: str = AUTO
    reason: str = ""
    #: the report that a person approves
    report: str | None = None
    evidence: EvidenceSummary | None = None
    facts: Facts = Facts()


class RolloutEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the event log: a transition, or a command that changed nothing."""

    #: over all routes, 1, 2, ...
    seq: int
    ts: float
    route: str
    #: "" for the route itself
    student: str
    event: Event
    #: None before registration, and for the route itself
    stage_from: Stage | None
    stage_to: Stage | None
    weight_from: float
    weight_to: float
    actor: str
    reason: str
    #: candidate number after the event
    k: int
    #: False: a command that was repeated, or had nothing to do
    changed: bool = True
    #: requests sent to the student so far, and failed ones
    sent: int = 0
    failed: int = 0
    evidence: EvidenceSummary | None = None
    report: str | None = None
    hashes: Hashes = Hashes()
    code_version: str = ""
    prev_hash: str = ""
    hash: str = ""
