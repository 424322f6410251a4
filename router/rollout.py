"""The rollout state machine.

Theory of operation
-------------------
A *rollout* is one student's way to traffic. A *route* has many of them, at most one on the ramp
(the challenger) and one LIVE (the champion). The state of a route is the fold of its events and of
nothing else: `fold` rebuilds it from the log, bit for bit.

A driver that wants something to happen makes a `Signal` (what, who, when, and all that was known)
and asks `step`. `step` looks the stage and the event up in `router.table.TABLE` and takes the first
row whose conditions hold. It answers with a `Transition`, whose event the driver appends to the
log, or with a `Refusal` that says why not. Nothing here acts, reads a clock or keeps state.

Rules:

1. Everything that moves a rollout is a row of the table. An event without a row raises
   `IllegalEvent` and leaves the state untouched, unless a person gave it as a command: people get
   a `Refusal`.
2. One event per transition. A repeated command is a row of its own that changes nothing; its event
   is still logged.
3. Automation raises a stage by one at most. It may always lower the weight, and it never gives a
   person's command: so it can't undo a rollback, a kill or a pause.
4. An availability fault never touches k or the marks of the evidence. A quality alarm ends the
   rollout.
5. An effect sees the old state and the stored row, never evidence, policy or clock: a replay under
   another policy gives the same state.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from router.effects import Move, register
from router.errors import ChainError, IllegalEvent
from router.events import AUTO, COMMANDS, Event, RolloutEvent, Signal
from router.forms import bar_text
from router.policy import Policy
from router.stages import EXPOSED, Stage, next_step
from router.state import Rollout, RouteRollouts
from router.table import TABLE, Row, Target
from router.view import Condition, View


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why nothing happens."""

    #: in words, every condition that does not hold
    reason: str


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """What happens."""

    #: not sealed yet: its number, code version and hashes are the log's (`router.chain.seal`)
    event: RolloutEvent
    #: the student's rollout with the event folded in; None for the route itself
    after: Rollout | None

    @property
    def changed(self) -> bool:
        """False: a command that was repeated, or had nothing to do; it is logged all the same."""
        return self.event.changed


def step(route: RouteRollouts, signal: Signal, policy: Policy) -> Transition | Refusal:
    """Decide what ``signal`` does to ``route``.

    Raises IllegalEvent where the table knows no such event, or automation gives a person's command.
    """
    if signal.actor == AUTO and signal.event in COMMANDS and signal.event is not Event.APPROVE:
        raise IllegalEvent(f"{signal.event.value} of {signal.student!r}: only a person may do that")
    if not signal.student:
        return _step_route(route, signal, policy)
    rollout = route.get(signal.student)
    if rollout is None:
        return _register(route, signal, policy)
    view = View(route=route, rollout=rollout, signal=signal, policy=policy)
    rows = TABLE.get((rollout.stage, signal.event), ())
    refused: list[str] = []
    for row in rows:
        against = _against(row.when, view)
        if not against:
            return _take(route, rollout, row, signal, policy)
        # The first row is what the event is for; the others are its special cases.
        refused = refused or against
    if rows:
        return Refusal(reason="; ".join(refused))
    if signal.event in COMMANDS:
        return Refusal(reason=_no_row(rollout, signal.event))
    raise IllegalEvent(_no_row(rollout, signal.event))


def targets(route: RouteRollouts, event: Event) -> tuple[str, ...]:
    """Return whom a command for the whole route concerns; "" stands for the route itself.

    Signal them one after the other, each against the state that the one before has left.
    """
    if event is Event.KILL:
        return ("", *(r.student for r in route.serving))
    if event is Event.UNKILL:
        return ("", *(r.student for r in route.rollouts if r.stage is Stage.KILLED))
    if event is Event.ROLLBACK:
        concerned = (Stage.READY, *EXPOSED)
        return tuple(r.student for r in route.rollouts if r.stage in concerned) or ("",)
    raise IllegalEvent(f"{event.value} is no command for a whole route; name the student")


def apply(route: RouteRollouts, event: RolloutEvent) -> RouteRollouts:
    """Fold one stored event into the state; refuse what the table could not have written."""
    where = f"event {event.seq} ({event.event.value} of {event.student!r} on {route.route})"
    if event.route != route.route:
        raise ChainError(f"{where} belongs to route {event.route}")
    if not event.student:
        return replace(route, killed=event.stage_to is Stage.KILLED, seq=event.seq)
    before = route.get(event.student)
    if event.stage_from != (before.stage if before else None):
        stage = before.stage.value if before else "not registered"
        raise ChainError(f"{where} starts from {event.stage_from}, but the student is {stage}")
    if not event.changed:
        return replace(route, seq=event.seq)
    after, k = _replay(route, before, event, where)
    if (after.stage, after.k, after.weight) != (event.stage_to, event.k, event.weight_to):
        raise ChainError(
            f"{where} leads to {event.stage_to}, k {event.k}, weight {event.weight_to}; replayed:"
            f" {after.stage}, k {after.k}, weight {after.weight}"
        )
    return replace(route.put(after), k=k, seq=event.seq)


def fold(route: str, events: Iterable[RolloutEvent]) -> RouteRollouts:
    """Rebuild one route's rollouts from the log; events of other routes are passed over."""
    state = RouteRollouts(route=route)
    for event in events:
        if event.route == route:
            state = apply(state, event)
    return state


def _against(conditions: Iterable[Condition], view: View) -> list[str]:
    reasons = (condition.why_not(view) for condition in conditions)
    return [reason for reason in reasons if reason is not None]


def _no_row(rollout: Rollout, event: Event) -> str:
    possible = sorted({stage.value for stage, known in TABLE if known is event})
    return (
        f"{event.value}: {rollout.student} is {rollout.stage.value};"
        f" possible in {', '.join(possible) or 'no stage'}"
    )


def _register(route: RouteRollouts, signal: Signal, policy: Policy) -> Transition | Refusal:
    if signal.event is not Event.STUDENT_REGISTERED:
        words = f"{signal.event.value}: route {route.route} has no student {signal.student!r}"
        if signal.event in COMMANDS:
            return Refusal(reason=f"{words}; `limbeck status` lists them")
        raise IllegalEvent(words)
    if signal.facts.lost is not None:
        return Refusal(reason=f"not registered, its model is gone: {signal.facts.lost}")
    draft = _draft(route, None, signal, policy, k=route.k + 1)
    after = register(_move(draft, Stage.SHADOW, dry=False))
    return Transition(event=replace(draft, stage_to=after.stage), after=after)


def _take(
    route: RouteRollouts, before: Rollout, row: Row, signal: Signal, policy: Policy
) -> Transition:
    draft = _draft(route, before, signal, policy, k=route.k + 1 if row.new_k else before.k)
    after = row.effect(before, _move(draft, _to(row, before), dry=policy.rollout.dry_run))
    event = replace(draft, stage_to=after.stage, weight_to=after.weight, changed=after != before)
    return Transition(event=event, after=after)


def _step_route(route: RouteRollouts, signal: Signal, policy: Policy) -> Transition | Refusal:
    """Handle a command for the route itself: kill, unkill, or a rollback of nothing."""
    if signal.event not in (Event.KILL, Event.UNKILL, Event.ROLLBACK):
        raise IllegalEvent(f"{signal.event.value} on {route.route}: name the student")
    if signal.event is Event.UNKILL and route.killed and not signal.reason.strip():
        return Refusal(reason='say why: unkill needs --reason "..."')
    killed = signal.event is Event.KILL or (route.killed and signal.event is not Event.UNKILL)
    event = replace(
        _draft(route, None, signal, policy, k=route.k),
        stage_from=Stage.KILLED if route.killed else None,
        stage_to=Stage.KILLED if killed else None,
        changed=killed != route.killed,
    )
    return Transition(event=event, after=None)


def _draft(
    route: RouteRollouts, before: Rollout | None, signal: Signal, policy: Policy, *, k: int
) -> RolloutEvent:
    return RolloutEvent(
        seq=route.seq + 1,
        ts=signal.ts,
        route=route.route,
        student=signal.student,
        event=signal.event,
        stage_from=before.stage if before else None,
        stage_to=None,
        weight_from=before.weight if before else 0.0,
        weight_to=0.0,
        actor=signal.actor,
        reason=signal.reason,
        k=k,
        sent=signal.facts.health.sent,
        failed=signal.facts.health.failed,
        evidence=signal.evidence,
        report=signal.report,
        hashes=replace(signal.facts.hashes, bar=bar_text(policy.gate)),
    )


def _replay(
    route: RouteRollouts, before: Rollout | None, event: RolloutEvent, where: str
) -> tuple[Rollout, int]:
    """Find the row that wrote ``event`` and run its effect; return the route's new k, too."""
    if before is None:
        if event.event is not Event.STUDENT_REGISTERED:
            raise ChainError(f"{where}: the student was never registered")
        after = register(_move(replace(event, k=route.k + 1), Stage.SHADOW, dry=False))
        return after, after.k
    # Only a dry run gives a first step without weight.
    dry = event.weight_to == 0.0
    for row in TABLE.get((before.stage, event.event), ()):
        k = route.k + 1 if row.new_k else before.k
        after = row.effect(before, _move(replace(event, k=k), _to(row, before), dry=dry))
        if after.stage is event.stage_to and after != before:
            return after, max(k, route.k)
    raise ChainError(f"{where}: the state table knows no such transition")


def _move(event: RolloutEvent, to: Stage, *, dry: bool) -> Move:
    return Move(
        student=event.student,
        to=to,
        ts=event.ts,
        reason=event.reason,
        k=event.k,
        sent=event.sent,
        report=event.report,
        hashes=event.hashes,
        dry=dry,
    )


def _to(row: Row, rollout: Rollout) -> Stage:
    if isinstance(row.to, Stage):
        return row.to
    return next_step(rollout.stage) if row.to is Target.NEXT else rollout.stage
