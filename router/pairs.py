"""One pair of scores, and the marks that say which pairs feed what."""

from __future__ import annotations

import enum
import math

import msgspec

from router.errors import EvidenceError


class Outcome(enum.StrEnum):
    """What became of a pair."""

    #: both answers were delivered and scored
    SCORED = "scored"
    #: no label before the deadline; counts against label coverage
    UNLABELLED = "unlabelled"
    #: the metric could not score one of the answers; counts against label coverage
    NOT_SCORED = "not_scored"
    #: the student failed before its first byte: availability, never a score
    STUDENT_FAILED = "student_failed"
    #: the teacher failed: never a score of 0
    TEACHER_FAILED = "teacher_failed"
    #: inside an outage window of either side; survivors too
    OUTAGE = "outage"
    #: a judge whose two orders disagree
    ABSTAINED = "abstained"


class Kind(enum.StrEnum):
    """Who answered the caller."""

    #: the teacher; the student's answer is a replay
    SHADOW = "shadow"
    #: the student; the teacher's answer is a replay
    REVERSE_SHADOW = "reverse_shadow"


class Coverage(enum.StrEnum):
    """Which requests the source of a label covers."""

    #: every request, or the metric needs no label
    ALL = "all"
    #: a random sample, drawn before any answer was seen
    AUDIT = "audit"
    #: anyone, any time: trains, and is no evidence
    VOLUNTEERED = "volunteered"


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Student and teacher on the same request, as consumed behind the watermark."""

    #: place in request order; each is consumed once
    seq: int
    #: when the request came, Unix seconds
    ts: float
    kind: Kind = Kind.SHADOW
    outcome: Outcome = Outcome.SCORED
    #: None unless scored
    teacher: float | None = None
    student: float | None = None
    #: negative control: the student's answer of the pair before, scored on this one
    control: float | None = None
    #: in (0, 1], known before any score
    weight: float = 1.0
    coverage: Coverage = Coverage.ALL
    #: of near-duplicates; None: like no other
    cluster: str | None = None


def check(pair: Pair, *, after: int, where: str) -> None:
    """Refuse a pair that must not become evidence; ``after``: the last consumed pair."""
    if pair.seq <= after:
        raise EvidenceError(f"{where} is not behind pair {after}: each pair counts once")
    if pair.coverage is Coverage.VOLUNTEERED:
        raise EvidenceError(
            f"{where}: volunteered labels are no evidence; people correct what is wrong, and a"
            " bad student would pass"
        )
    if not (math.isfinite(pair.ts) and 0.0 < pair.weight <= 1.0):
        raise EvidenceError(f"{where}: time {pair.ts}, weight {pair.weight} not in (0, 1]")
    if pair.outcome is Outcome.SCORED:
        if pair.student is None or pair.teacher is None:
            raise EvidenceError(f"{where} is called scored, but a score is missing")
        check_scores(pair.student, pair.teacher)
        if pair.control is not None:
            check_scores(pair.control)


def check_scores(*scores: float) -> None:
    """Refuse what is no score; a score is never clipped."""
    for score in scores:
        if not 0.0 <= score <= 1.0:
            raise EvidenceError(f"score {score} must lie in [0, 1]; fix the metric")


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """Since when a rollout's pairs feed what; only requests after a mark count (Unix seconds)."""

    #: start of the evidence
    since: float = 0.0
    #: as `since`, or the last extension: the cap of time runs from here
    cap_from: float = 0.0
    #: how often a person extended the search
    extensions: int = 0
    #: the present stage, for what each step must show itself; None: it asks for nothing
    step_from: float | None = None
    #: quality guards; None: not running
    guard_from: float | None = None
    #: the warning detector, after a return from a warning
    warn_from: float | None = None
    #: the gate process begun at a warning; None: none
    return_from: float | None = None
