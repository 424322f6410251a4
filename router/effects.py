"""What a transition does to a rollout: pure functions of the old state and the stored row.

The same functions run when a transition is made and when it is replayed from the log.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from router.events import Hashes
from router.pairs import Marks
from router.stages import RESUMABLE, HeldReason, Stage
from router.state import Fault, Hold, Rollout

#: More holds than any flapping policy looks at, and more faults than pairs wait for.
_HOLDS_KEPT = 64


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """What an effect may look at, beside the rollout."""

    student: str
    #: where the row leads; the effect itself decides for "same" and "return"
    to: Stage
    ts: float
    reason: str
    #: candidate number after the move
    k: int
    #: requests sent to the student so far
    sent: int
    report: str | None
    hashes: Hashes
    #: exposed in a dry run
    dry: bool


Effect = Callable[[Rollout, Move], Rollout]


def register(move: Move) -> Rollout:
    """Begin the rollout of a new student."""
    return Rollout(
        student=move.student,
        k=move.k,
        stage=Stage.SHADOW,
        entered=move.ts,
        marks=Marks(since=move.ts, cap_from=move.ts),
        hashes=move.hashes,
    )


def keep(rollout: Rollout, move: Move) -> Rollout:
    """Change nothing."""
    return rollout


def make_ready(rollout: Rollout, move: Move) -> Rollout:
    """Wait for approval; the quality guards begin."""
    marks = replace(rollout.marks, guard_from=move.ts, warn_from=None, return_from=None)
    ready = _begin_step(replace(rollout, marks=marks), Stage.READY, move)
    return replace(ready, held=None, reasons=(), dry=False, live_since=None)


def expose(rollout: Rollout, move: Move) -> Rollout:
    """Give the student its first traffic (none in a dry run)."""
    return replace(_begin_step(rollout, move.to, move), report=move.report, dry=move.dry)


def consent(rollout: Rollout, move: Move) -> Rollout:
    """Record the approval of the next step; the report of the last one says nothing new."""
    if move.report == rollout.report:
        return rollout
    return replace(rollout, report=move.report, consent=True)


def advance(rollout: Rollout, move: Move) -> Rollout:
    """Go up by one step."""
    live_since = move.ts if move.to is Stage.LIVE else rollout.live_since
    return replace(_begin_step(rollout, move.to, move), live_since=live_since)


def hold_for(reason: HeldReason) -> Effect:
    """Make the effect that holds a rollout, or adds a reason to its hold."""

    def effect(rollout: Rollout, move: Move) -> Rollout:
        if reason in rollout.reasons:
            return rollout
        reasons = tuple(sorted({*rollout.reasons, reason}))
        held = replace(rollout, reasons=reasons, why=move.reason)
        if rollout.stage not in (Stage.HELD, Stage.KILLED):
            held = replace(held, stage=Stage.HELD, held=rollout.stage, entered=move.ts)
        if reason is HeldReason.WARN:
            held = replace(held, marks=replace(held.marks, return_from=move.ts))
        if reason is HeldReason.AVAILABILITY:
            holds = (*rollout.holds, Hold(move.ts, move.sent))[-_HOLDS_KEPT:]
            held = replace(held, holds=holds, unhealthy_since=move.ts)
        return held

    return effect


def change(rollout: Rollout, move: Move) -> Rollout:
    """Hold an exposed student, and begin gate and guards afresh as a new candidate."""
    held = hold_for(HeldReason.CHANGED)(rollout, move)
    warned = HeldReason.WARN in held.reasons
    marks = Marks(
        since=move.ts,
        cap_from=move.ts,
        guard_from=move.ts,
        return_from=move.ts if warned else None,
    )
    # A step that was approved, was approved on the old evidence.
    return replace(held, k=move.k, marks=marks, hashes=move.hashes, why=move.reason, consent=False)


def release(*ended: HeldReason) -> Effect:
    """Make the effect that ends these reasons, and the hold when none is left."""

    def effect(rollout: Rollout, move: Move) -> Rollout:
        gone = set(ended).intersection(rollout.reasons)
        left = tuple(reason for reason in rollout.reasons if reason not in gone)
        freed = replace(rollout, reasons=left)
        if HeldReason.WARN in gone:
            freed = replace(freed, marks=replace(freed.marks, warn_from=move.ts, return_from=None))
        if HeldReason.AVAILABILITY in gone:
            freed = recover(freed, move)
        if left:
            return freed
        # An approval of the next step outlives a hold.
        back = _begin_step(freed, rollout.held or Stage.R1, move)
        return replace(back, held=None, consent=rollout.consent)

    return effect


resume = release(*sorted(RESUMABLE))


def sicken(rollout: Rollout, move: Move) -> Rollout:
    """Note an availability fault of a student without traffic; shadow pauses."""
    if rollout.unhealthy_since is not None:
        return rollout
    return replace(rollout, unhealthy_since=move.ts, why=move.reason)


def recover(rollout: Rollout, move: Move) -> Rollout:
    """Note that the fault is over; its detectors begin afresh."""
    faults = rollout.faults
    if rollout.unhealthy_since is not None:
        faults = (*faults, Fault(rollout.unhealthy_since, move.ts))[-_HOLDS_KEPT:]
    return replace(rollout, faults=faults, unhealthy_since=None, availability_from=move.ts)


def begin_again(rollout: Rollout, move: Move) -> Rollout:
    """Back to SHADOW as a new candidate, with no evidence."""
    return Rollout(
        student=rollout.student,
        k=move.k,
        stage=Stage.SHADOW,
        entered=move.ts,
        why=move.reason,
        marks=Marks(since=move.ts, cap_from=move.ts),
        faults=rollout.faults,
        unhealthy_since=rollout.unhealthy_since,
        availability_from=rollout.availability_from,
        hashes=move.hashes,
    )


def retry(rollout: Rollout, move: Move) -> Rollout:
    """As `begin_again`, with fresh availability detectors."""
    return recover(begin_again(rollout, move), move)


def search_on(rollout: Rollout, move: Move) -> Rollout:
    """READY has expired: the same candidate goes on gathering evidence."""
    marks = replace(
        rollout.marks, step_from=None, guard_from=None, warn_from=None, return_from=None
    )
    return replace(_enter(rollout, Stage.SHADOW, move), marks=marks)


def extend(rollout: Rollout, move: Move) -> Rollout:
    """Search for longer, with the same evidence and the same k."""
    marks = replace(rollout.marks, cap_from=move.ts, extensions=rollout.marks.extensions + 1)
    if rollout.stage is Stage.HELD:
        return replace(rollout, marks=marks)
    return replace(_enter(rollout, Stage.SHADOW, move), marks=marks)


def end(rollout: Rollout, move: Move) -> Rollout:
    """Stop: no traffic, no way on but a person's."""
    return replace(_enter(rollout, move.to, move), held=None, reasons=())


def kill(rollout: Rollout, move: Move) -> Rollout:
    """Switch off; the way back leads to the first step."""
    return replace(_enter(rollout, Stage.KILLED, move), held=Stage.R1)


def unkill(rollout: Rollout, move: Move) -> Rollout:
    """HELD at 0 until a person resumes."""
    reasons = tuple(sorted({*rollout.reasons, HeldReason.UNKILLED}))
    return replace(_enter(rollout, Stage.HELD, move), held=Stage.R1, reasons=reasons)


def _begin_step(rollout: Rollout, stage: Stage, move: Move) -> Rollout:
    """Enter a stage that must show pairs of its own before the next one."""
    marks = replace(rollout.marks, step_from=move.ts)
    return replace(_enter(rollout, stage, move), marks=marks)


def _enter(rollout: Rollout, stage: Stage, move: Move) -> Rollout:
    return replace(rollout, stage=stage, entered=move.ts, why=move.reason, consent=False)
