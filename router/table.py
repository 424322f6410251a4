"""The state table as data: every transition, with its conditions and its effect, and no other.

Of several rows for one stage and event the first whose conditions all hold is taken.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from router import availability as health
from router import conditions as when
from router import effects as do
from router.effects import Effect
from router.events import Event
from router.stages import EXPOSED, RAMP, SERVING, HeldReason, Stage
from router.view import Condition


class Target(enum.Enum):
    """Where a row leads, relative to the stage."""

    #: no other stage; the state may still change
    SAME = "same stage"
    #: one step up
    NEXT = "next stage"
    #: the stage that was held; HELD while a reason is left
    RETURN = "the held stage, or HELD for its other reasons"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    stages: tuple[Stage, ...]
    event: Event
    to: Stage | Target
    effect: Effect = do.keep
    when: tuple[Condition, ...] = field(default=(), kw_only=True)
    #: the evidence begins afresh, as the route's next candidate
    new_k: bool = field(default=False, kw_only=True)


_ALL = tuple(Stage)
_UNEXPOSED = (Stage.SHADOW, Stage.READY)


def _others(*stages: Stage) -> tuple[Stage, ...]:
    return tuple(stage for stage in _ALL if stage not in stages)


_SEARCH = (
    Row(
        (Stage.SHADOW,),
        Event.GATE_PROMOTE,
        Stage.READY,
        do.make_ready,
        when=(when.GATE_PROMOTES, health.FIT, health.AVAILABLE, when.ROUTE_OPEN),
    ),
    Row((Stage.SHADOW,), Event.GATE_REJECT, Stage.REJECTED, do.end, when=(when.GATE_REJECTS,)),
    Row(
        (Stage.SHADOW,),
        Event.GATE_INCONCLUSIVE,
        Stage.INCONCLUSIVE,
        do.end,
        when=(when.GATE_UNDECIDED,),
    ),
    Row((Stage.INCONCLUSIVE,), Event.EXTEND, Stage.SHADOW, do.extend),
    Row((Stage.INCONCLUSIVE,), Event.REJECT, Stage.REJECTED, do.end),
    Row((Stage.READY,), Event.EXPIRE, Stage.SHADOW, do.search_on, when=(when.EXPIRED,)),
    Row(
        (*_UNEXPOSED, Stage.INCONCLUSIVE),
        Event.CHANGED,
        Stage.SHADOW,
        do.begin_again,
        when=(when.CHANGED,),
        new_k=True,
    ),
    Row(
        (*_UNEXPOSED, Stage.INCONCLUSIVE),
        Event.REPLAY_MISMATCH,
        Stage.SHADOW,
        do.begin_again,
        new_k=True,
    ),
)

_RAMP = (
    Row(
        (Stage.READY,),
        Event.APPROVE,
        Stage.R1,
        do.expose,
        when=(
            when.MAY_APPROVE,
            when.REPORT_CURRENT,
            when.UNCHANGED,
            when.GATE_PROMOTES,
            when.LABELLED,
            when.NO_FREEZE,
            health.FIT,
            health.AVAILABLE,
            when.ROOM,
            when.ROUTE_OPEN,
            when.SETTLED,
        ),
    ),
    Row(
        RAMP,
        Event.APPROVE,
        Target.SAME,
        do.consent,
        when=(when.EVERY_STEP, when.MAY_APPROVE, when.REPORT_CURRENT, when.UNCHANGED),
    ),
    Row(
        RAMP,
        Event.ADVANCE,
        Target.NEXT,
        do.advance,
        when=(
            when.STEP_DONE,
            when.NO_WARNING,
            when.GATE_PROMOTES,
            when.WATCHED,
            when.LABELLED,
            health.AVAILABLE,
            when.CONSENT,
            when.CAPACITY,
            when.NO_FREEZE,
            when.ROUTE_OPEN,
            when.SETTLED,
        ),
    ),
    Row((Stage.LIVE,), Event.SUPERSEDED, Stage.ROLLED_BACK, do.end, when=(when.NEWER_LIVE,)),
    Row(
        (Stage.HELD,),
        Event.SUPERSEDED,
        Stage.ROLLED_BACK,
        do.end,
        when=(when.ON_LIVE, when.NEWER_LIVE),
    ),
    Row(
        SERVING, Event.DRY_RUN_ENDED, Stage.READY, do.make_ready, when=(when.DRY, when.DRY_RUN_OFF)
    ),
)

_HOLDS = (
    Row((Stage.HELD,), Event.WARN, Target.SAME, when=(when.is_held_for(HeldReason.WARN),)),
    Row(EXPOSED, Event.WARN, Stage.HELD, do.hold_for(HeldReason.WARN), when=(when.WARNING,)),
    Row(
        (Stage.HELD,), Event.FREEZE_START, Target.SAME, when=(when.is_held_for(HeldReason.FREEZE),)
    ),
    Row(
        EXPOSED, Event.FREEZE_START, Stage.HELD, do.hold_for(HeldReason.FREEZE), when=(when.FREEZE,)
    ),
    Row((Stage.HELD,), Event.PAUSE, Target.SAME, when=(when.is_held_for(HeldReason.PAUSE),)),
    Row(EXPOSED, Event.PAUSE, Stage.HELD, do.hold_for(HeldReason.PAUSE)),
    Row(
        RAMP,
        Event.TOO_LITTLE_DATA,
        Stage.HELD,
        do.hold_for(HeldReason.TOO_LITTLE_DATA),
        when=(when.STARVED,),
    ),
    Row(EXPOSED, Event.CHANGED, Stage.HELD, do.change, when=(when.CHANGED,), new_k=True),
    Row(EXPOSED, Event.REPLAY_MISMATCH, Stage.HELD, do.hold_for(HeldReason.REPLAY)),
)

_RETURNS = (
    Row(
        (Stage.HELD,),
        Event.RESUME,
        Target.RETURN,
        do.resume,
        when=(when.RESUMABLE_HOLD, when.NO_FREEZE, when.ROOM, when.ROUTE_OPEN),
    ),
    Row(
        (Stage.HELD,),
        Event.RECOVERED,
        Target.RETURN,
        do.release(HeldReason.WARN),
        when=(when.is_held_for(HeldReason.WARN), when.RECOVERED, when.NO_FREEZE),
    ),
    Row(
        (Stage.HELD,),
        Event.FREEZE_END,
        Target.RETURN,
        do.release(HeldReason.FREEZE),
        when=(when.is_held_for(HeldReason.FREEZE), when.NO_FREEZE),
    ),
    Row(
        (Stage.HELD,),
        Event.HEALTHY,
        Target.RETURN,
        do.release(HeldReason.AVAILABILITY),
        when=(when.is_held_for(HeldReason.AVAILABILITY), health.HEALTHY_DWELL),
    ),
    Row(
        _UNEXPOSED,
        Event.HEALTHY,
        Target.SAME,
        do.recover,
        when=(health.UNFIT, health.HEALTHY_DWELL),
    ),
    Row(
        (Stage.HELD,),
        Event.GATE_PROMOTE,
        Target.RETURN,
        do.release(HeldReason.CHANGED),
        when=(when.is_held_for(HeldReason.CHANGED), when.GATE_PROMOTES),
    ),
    Row(
        (Stage.HELD,),
        Event.GATE_REJECT,
        Stage.ROLLED_BACK,
        do.end,
        when=(when.is_held_for(HeldReason.CHANGED), when.GATE_REJECTS),
    ),
    Row(
        (Stage.HELD,),
        Event.EXTEND,
        Target.SAME,
        do.extend,
        when=(when.is_held_for(HeldReason.CHANGED),),
    ),
)

_FAULTS = (
    Row(
        (Stage.HELD,),
        Event.AVAILABILITY_ALARM,
        Target.SAME,
        when=(when.is_held_for(HeldReason.AVAILABILITY),),
    ),
    Row(
        EXPOSED,
        Event.AVAILABILITY_ALARM,
        Stage.ROLLED_BACK,
        do.end,
        when=(health.UNAVAILABLE, health.FLAPPING),
    ),
    Row(
        EXPOSED,
        Event.AVAILABILITY_ALARM,
        Stage.HELD,
        do.hold_for(HeldReason.AVAILABILITY),
        when=(health.UNAVAILABLE,),
    ),
    Row(_UNEXPOSED, Event.AVAILABILITY_ALARM, Target.SAME, do.sicken, when=(health.UNAVAILABLE,)),
    Row(
        (Stage.HELD,),
        Event.UNHEALTHY_TOO_LONG,
        Stage.ROLLED_BACK,
        do.end,
        when=(when.is_held_for(HeldReason.AVAILABILITY), health.GONE_TOO_LONG),
    ),
    Row(
        (Stage.READY, *EXPOSED),
        Event.QUALITY_ALARM,
        Stage.ROLLED_BACK,
        do.end,
        when=(when.QUALITY_ALARM,),
    ),
    Row(
        _others(Stage.ROLLED_BACK, Stage.REJECTED),
        Event.LOST,
        Stage.ROLLED_BACK,
        do.end,
        when=(when.LOST_FOR_GOOD,),
    ),
)

_PEOPLE = (
    Row((Stage.READY, *EXPOSED), Event.ROLLBACK, Stage.ROLLED_BACK, do.end),
    Row(
        (Stage.ROLLED_BACK,),
        Event.RETRY,
        Stage.SHADOW,
        do.retry,
        when=(when.COOLED_DOWN, when.ARTEFACT_THERE, when.ROUTE_OPEN),
        new_k=True,
    ),
    Row(EXPOSED, Event.KILL, Stage.KILLED, do.kill),
    Row(
        (Stage.KILLED,), Event.UNKILL, Stage.HELD, do.unkill, when=(when.ROUTE_OPEN, when.SAID_WHY)
    ),
    Row((Stage.KILLED,), Event.CHANGED, Target.SAME, do.change, when=(when.CHANGED,), new_k=True),
    Row((Stage.KILLED,), Event.REPLAY_MISMATCH, Target.SAME, do.hold_for(HeldReason.REPLAY)),
)

#: A repeated command, or one with nothing to do: no change, answered as done, logged.
_NOTHING_TO_DO = (
    Row(_ALL, Event.STUDENT_REGISTERED, Target.SAME),
    Row(RAMP, Event.APPROVE, Target.SAME, when=(when.APPROVED_ONCE,)),
    Row((Stage.LIVE,), Event.APPROVE, Target.SAME),
    Row(SERVING, Event.RESUME, Target.SAME),
    Row(_others(Stage.READY, *EXPOSED), Event.ROLLBACK, Target.SAME),
    Row((Stage.SHADOW,), Event.RETRY, Target.SAME),
    Row((Stage.SHADOW,), Event.EXTEND, Target.SAME),
    Row((Stage.REJECTED,), Event.REJECT, Target.SAME),
    Row(_others(*EXPOSED), Event.KILL, Target.SAME),
    Row(_others(Stage.KILLED), Event.UNKILL, Target.SAME),
    Row((Stage.ROLLED_BACK, Stage.REJECTED), Event.LOST, Target.SAME),
    Row((Stage.ROLLED_BACK, Stage.REJECTED), Event.REPLAY_MISMATCH, Target.SAME),
)

#: Registration is the only row without a stage before it; `router.rollout` has it.
ROWS = (*_SEARCH, *_RAMP, *_HOLDS, *_RETURNS, *_FAULTS, *_PEOPLE, *_NOTHING_TO_DO)


def _index() -> dict[tuple[Stage, Event], tuple[Row, ...]]:
    index: dict[tuple[Stage, Event], tuple[Row, ...]] = {}
    for row in ROWS:
        for stage in row.stages:
            index[stage, row.event] = (*index.get((stage, row.event), ()), row)
    return index


#: The rows for a stage and an event, in the order in which they are tried.
TABLE = _index()
