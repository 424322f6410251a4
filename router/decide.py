"""What to do about the verdicts: at most one move a call, or the reason why nothing moves.

A tick compares the state with what the table would allow: the automatic events are tried in order
of urgency, and the table's conditions decide. So this module holds no threshold of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from router.availability import FLAPPING, why_unavailable
from router.conditions import what_changed
from router.events import AUTO, Event, Facts, Signal
from router.policy import Policy
from router.rollout import Refusal, Transition, step
from router.stages import EXPOSED, RAMP, HeldReason, Stage
from router.state import Rollout, RouteRollouts
from router.table import TABLE
from router.verdicts import EvidenceSummary
from router.view import View, duration


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One tick's result for one student."""

    #: None: stay
    transition: Transition | None
    #: why it moves, or why nothing moves
    reason: str


def decide(
    route: RouteRollouts,
    student: str,
    *,
    evidence: EvidenceSummary | None,
    facts: Facts,
    policy: Policy,
    now: float,
) -> Decision:
    """Decide about one student at ``now`` (Unix seconds)."""
    rollout = route.get(student)
    if rollout is None:
        return Decision(transition=None, reason=f"{student} is not registered")
    refused: dict[Event, str] = {}
    for event, because in AUTOMATIC.items():
        if (rollout.stage, event) not in TABLE:
            continue
        signal = Signal(
            event=event,
            student=student,
            ts=now,
            actor=AUTO,
            report=facts.report if event is Event.APPROVE else None,
            evidence=evidence,
            facts=facts,
        )
        view = View(route=route, rollout=rollout, signal=signal, policy=policy)
        signal = msgspec.structs.replace(signal, reason=because(view))
        outcome = step(route, signal, policy)
        if isinstance(outcome, Refusal):
            refused[event] = outcome.reason
        elif outcome.changed:
            return Decision(transition=outcome, reason=signal.reason)
    return Decision(transition=None, reason=_staying(route, rollout, refused))


def _gate_reason(view: View) -> str:
    return view.signal.evidence.gate.reason if view.signal.evidence else ""


def _guard_reason(view: View) -> str:
    return view.signal.evidence.guard.reason if view.signal.evidence else ""


def _served(view: View) -> str:
    served, spent = view.signal.facts.health.served, view.now - view.the.entered
    return f"{view.the.stage.value}: {served} served in {duration(spent)}"


def _unavailable(view: View) -> str:
    flapping = view.the.stage in EXPOSED and FLAPPING.why_not(view) is None
    return f"{'flapping: ' if flapping else ''}{why_unavailable(view)}"


#: What automation may do, the most urgent first (down before up, faults before verdicts), and why
#: it does. The first word of a rollback's reason names its cause.
AUTOMATIC: dict[Event, Callable[[View], str]] = {
    Event.LOST: lambda view: f"gone: {view.signal.facts.lost}",
    Event.QUALITY_ALARM: lambda view: f"quality: {_guard_reason(view)}",
    Event.CHANGED: lambda view: f"changed: {', '.join(what_changed(view))}; evidence begins afresh",
    Event.UNHEALTHY_TOO_LONG: lambda view: (
        f"gone: unhealthy for {duration(view.policy.guard.gone_after_s)}"
    ),
    Event.AVAILABILITY_ALARM: _unavailable,
    Event.HEALTHY: lambda view: "healthy again",
    Event.GATE_REJECT: _gate_reason,
    Event.WARN: _guard_reason,
    Event.SUPERSEDED: lambda view: "superseded: a newer student is LIVE",
    Event.DRY_RUN_ENDED: lambda view: "the ramp was a dry run; the real one begins at READY",
    Event.FREEZE_START: lambda view: f"freeze: {view.signal.facts.freeze}",
    Event.FREEZE_END: lambda view: "the freeze is over",
    Event.RECOVERED: lambda view: "the gate process begun at the warning passes the bar",
    Event.GATE_PROMOTE: _gate_reason,
    Event.GATE_INCONCLUSIVE: _gate_reason,
    Event.EXPIRE: lambda view: "not approved in time; the next report shows newer evidence",
    Event.TOO_LITTLE_DATA: lambda view: f"too little data: {_served(view)}",
    Event.APPROVE: lambda view: "the policy asks nobody for approval",
    Event.ADVANCE: lambda view: f"{_served(view)}; {_guard_reason(view)}",
}


def _staying(route: RouteRollouts, rollout: Rollout, refused: dict[Event, str]) -> str:
    """Say why nothing moves, for the person who looks at `limbeck status`."""
    return f"{rollout.stage.value}: {_why_stay(route, rollout, refused)}"


def _why_stay(route: RouteRollouts, rollout: Rollout, refused: dict[Event, str]) -> str:
    if route.killed:
        return f"route {route.route} is killed"
    if rollout.stage is Stage.HELD:
        return "; ".join(_why_held(reason, refused) for reason in rollout.reasons)
    if rollout.stage in RAMP:
        return refused[Event.ADVANCE]
    telling = {
        Stage.SHADOW: (Event.GATE_PROMOTE,),
        Stage.READY: (Event.APPROVE, Event.EXPIRE),
        Stage.LIVE: (Event.QUALITY_ALARM,),
    }.get(rollout.stage)
    if telling is not None:
        return "; ".join(refused[event] for event in telling)
    return rollout.why or "nothing moves without a person"


def _why_held(reason: HeldReason, refused: dict[Event, str]) -> str:
    ends = {
        HeldReason.WARN: Event.RECOVERED,
        HeldReason.FREEZE: Event.FREEZE_END,
        HeldReason.AVAILABILITY: Event.HEALTHY,
        HeldReason.CHANGED: Event.GATE_PROMOTE,
    }.get(reason)
    return f"{reason.value}: {refused[ends] if ends else 'a person ends it by resume'}"
