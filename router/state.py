"""The state of one route's rollouts, as values; made by folding events, never by hand."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from router.events import Hashes
from router.pairs import Marks
from router.policy import GuardPolicy, RolloutPolicy
from router.stages import RAMP, SERVING, ZERO_WEIGHT, HeldReason, Stage, weight_of


class Hold(NamedTuple):
    """One availability hold."""

    ts: float
    #: requests sent to the student until then
    sent: int


class Fault(NamedTuple):
    """One availability fault that is over; both ends are Unix seconds."""

    #: the alarm
    start: float
    #: healthy again
    end: float


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """One student's way to traffic."""

    student: str
    #: candidate number of the present evidence
    k: int
    stage: Stage
    #: when the stage was entered, or returned to; the dwell runs from here (Unix seconds)
    entered: float
    #: where HELD and KILLED lead back to
    held: Stage | None = None
    #: why it is HELD (or was when killed), in order of the alphabet
    reasons: tuple[HeldReason, ...] = ()
    #: in words, for the newest reason
    why: str = ""
    marks: Marks = Marks()
    #: newest last
    holds: tuple[Hold, ...] = ()
    #: newest last; the present one, if there is one, began at ``unhealthy_since``
    faults: tuple[Fault, ...] = ()
    unhealthy_since: float | None = None
    #: when an advance made it LIVE; None: never
    live_since: float | None = None
    #: the availability guard counts requests after this
    availability_from: float = 0.0
    #: last approved report
    report: str | None = None
    #: the next step is approved (asked for where every step needs approval)
    consent: bool = False
    #: approved in a dry run: the weight stays 0
    dry: bool = False
    #: what the present evidence was gathered under
    hashes: Hashes = Hashes()

    @property
    def step(self) -> Stage:
        """The stage that decides the weight: of HELD, the one that it leads back to."""
        return self.held if self.stage is Stage.HELD and self.held else self.stage

    @property
    def weight(self) -> float:
        """The share of the keys outside the holdout; 0..1."""
        if self.dry or (self.stage is Stage.HELD and ZERO_WEIGHT.intersection(self.reasons)):
            return 0.0
        return weight_of(self.step)

    @property
    def challenges(self) -> bool:
        """Whether it is on the ramp; a route has room for one."""
        return self.step in RAMP and HeldReason.UNKILLED not in self.reasons

    def holds_in_window(self, policy: GuardPolicy, *, now: float, sent: int) -> int:
        """Count the availability holds of the last day, or of the last requests if longer.

        Where fewer requests are known than at a hold (retention, erasure) only the time counts.
        """
        return sum(
            now - hold.ts < policy.flap_window_s
            or 0 <= sent - hold.sent < policy.flap_window_requests
            for hold in self.holds
        )


class StudentWeight(msgspec.Struct, frozen=True, kw_only=True):
    """One student's line in the snapshot."""

    student: str
    stage: Stage
    weight: float
    #: how long the weight counts without a renewal, seconds
    lease_s: float


class RouteRollouts(msgspec.Struct, frozen=True, kw_only=True):
    """All rollouts of one route."""

    route: str
    #: in order of registration, oldest first
    rollouts: tuple[Rollout, ...] = ()
    #: candidates so far; never goes back
    k: int = 0
    killed: bool = False
    #: last folded event
    seq: int = 0

    def get(self, student: str) -> Rollout | None:
        """Return the rollout of a student, if it has one."""
        return next((r for r in self.rollouts if r.student == student), None)

    def put(self, rollout: Rollout) -> RouteRollouts:
        """Return a copy with this rollout instead of the student's old one."""
        if self.get(rollout.student) is None:
            return msgspec.structs.replace(self, rollouts=(*self.rollouts, rollout))
        return msgspec.structs.replace(
            self,
            rollouts=tuple(rollout if r.student == rollout.student else r for r in self.rollouts),
        )

    @property
    def serving(self) -> tuple[Rollout, ...]:
        """The rollouts in R1..LIVE and HELD, in the order in which they take their shares."""
        rollouts = [r for r in self.rollouts if r.stage in SERVING or r.stage is Stage.HELD]
        return tuple(sorted(rollouts, key=_share_order))

    @property
    def champion(self) -> Rollout | None:
        """The LIVE student (HELD on LIVE counts)."""
        return next((r for r in self.serving if r.step is Stage.LIVE), None)

    @property
    def challenger(self) -> Rollout | None:
        """The student on the ramp."""
        return next((r for r in self.serving if r.challenges), None)


def weights(route: RouteRollouts, policy: RolloutPolicy) -> tuple[StudentWeight, ...]:
    """Return the snapshot's lines for one route: the challenger's share comes first."""
    off = route.killed or policy.dry_run
    return tuple(
        StudentWeight(
            student=rollout.student,
            stage=rollout.stage,
            weight=0.0 if off else rollout.weight,
            lease_s=policy.live_lease_s if rollout.step is Stage.LIVE else policy.lease_s,
        )
        for rollout in route.serving
    )


def _share_order(rollout: Rollout) -> tuple[bool, float, int]:
    """Challengers before champions; of two champions the one that became LIVE last."""
    return (rollout.step is Stage.LIVE, -(rollout.live_since or 0.0), -rollout.k)
