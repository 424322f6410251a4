"""Where a rollout can stand, and the weight that goes with it."""

from __future__ import annotations

import enum


class Stage(enum.StrEnum):
    """A rollout's place on the way to full traffic."""

    #: registered; shadow evaluation feeds the gate
    SHADOW = "SHADOW"
    #: the gate promoted it; waits for a person's approval of the report
    READY = "READY"
    #: first ramp step
    R1 = "R1"
    #: second ramp step
    R5 = "R5"
    #: third ramp step
    R25 = "R25"
    #: last ramp step
    R50 = "R50"
    #: end of the ramp; the guards run for ever
    LIVE = "LIVE"
    #: does not advance, for one or more reasons; keeps its weight, or 0
    HELD = "HELD"
    #: back on the teacher: quality alarm, a person, flapping, gone, or superseded
    ROLLED_BACK = "ROLLED_BACK"
    #: the gate said no; terminal for this candidate
    REJECTED = "REJECTED"
    #: cap of pairs or time reached; a person extends or rejects
    INCONCLUSIVE = "INCONCLUSIVE"
    #: the route is off for students
    KILLED = "KILLED"


class HeldReason(enum.StrEnum):
    """Why a rollout is HELD; it ends when no reason is left."""

    #: warning detector; ends by `resume`, or when a fresh gate process passes the bar
    WARN = "warn"
    #: a freeze window; ends with it
    FREEZE = "freeze"
    #: a person paused it; ends by `resume`
    PAUSE = "pause"
    #: too few requests for far too long; ends by `resume`
    TOO_LITTLE_DATA = "too_little_data"
    #: errors, latency, breakers or endpoint; ends by a healthy dwell
    AVAILABILITY = "availability"
    #: teacher, metric or bar changed; ends when fresh evidence passes the gate
    CHANGED = "changed"
    #: back from KILLED; ends by `resume`
    UNKILLED = "unkilled"
    #: the replayed evidence is not the stored one; ends by `resume`
    REPLAY = "replay"


#: The ramp steps, in order.
RAMP = (Stage.R1, Stage.R5, Stage.R25, Stage.R50)
#: Stages with traffic of their own.
SERVING = (*RAMP, Stage.LIVE)
#: Stages that may have weight.
EXPOSED = (*SERVING, Stage.HELD)
#: No traffic and no evidence any more.
ENDED = frozenset({Stage.ROLLED_BACK, Stage.REJECTED})
#: A hold for one of these takes the weight away.
ZERO_WEIGHT = frozenset({HeldReason.AVAILABILITY, HeldReason.UNKILLED, HeldReason.REPLAY})
#: A person's `resume` ends these.
RESUMABLE = frozenset(
    {
        HeldReason.WARN,
        HeldReason.PAUSE,
        HeldReason.TOO_LITTLE_DATA,
        HeldReason.UNKILLED,
        HeldReason.REPLAY,
    }
)

_WEIGHTS = {
    Stage.R1: 0.01,
    Stage.R5: 0.05,
    Stage.R25: 0.25,
    Stage.R50: 0.50,
    Stage.LIVE: 1.0,
}


def weight_of(stage: Stage) -> float:
    """Return the weight of a stage; 0 for all but ramp steps and LIVE (HELD keeps its own)."""
    return _WEIGHTS.get(stage, 0.0)


def next_step(stage: Stage) -> Stage:
    """Return the stage that one advance leads to; ``stage`` is a ramp step."""
    return SERVING[SERVING.index(stage) + 1]
