"""What a report says, as values: the JSON form is this struct, the pages are drawn from it."""

from __future__ import annotations

import msgspec

from router.events import Hashes

SCHEMA = 1
#: a change of the world shows in the mean of so many pairs long before it shows in that of all
RECENT = 100


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """One figure with its name, already worded."""

    name: str
    value: str
    note: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How many sampled requests ended in one way."""

    kind: str
    outcome: str
    n: int
    cost: str


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """Cost and latency of one side."""

    served_by: str
    n: int
    p50: str
    p95: str
    per_1000: str
    failed: int
    fallbacks: int


class Exam(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate's result on the frozen hold-out."""

    candidate: str
    n: int
    score: str
    interval: str
    gap: str


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A pair in which the two sides got different scores."""

    text: str
    teacher_answer: str
    teacher_score: str
    student_answer: str
    student_score: str


class Happened(msgspec.Struct, frozen=True, kw_only=True):
    """One transition."""

    at: str
    student: str
    event: str
    stage_from: str
    stage_to: str
    actor: str
    reason: str


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """State of the evidence after one consumed pair, as in `router.evidence.Reading`.

    The recent scores are means of the last `RECENT` scored pairs, every repeated request counted.
    """

    seq: int
    ts: float
    log_e: float
    log_futility: float
    log_guard: float | None
    teacher: float
    student: float
    recent_teacher: float
    recent_student: float


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of a span of time."""

    at: float
    n: int
    #: of this report's student, not of another one's
    by_student: int


class Basis(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence that a report shows, and nothing that changes without it. Its hash is the name.

    Two reports on the same evidence have one name, whenever they were written and whatever other
    traffic came meanwhile.
    """

    route: str
    student: str | None
    k: int | None
    stage: str | None
    #: when that stage was entered, Unix seconds; a report is about one stay there
    entered: float | None
    #: last event of the route
    events: int
    #: last consumed pair
    pairs: int
    #: what the evidence was gathered under, and the configuration in force
    hashes: Hashes
    #: verdicts of gate and guard
    gate: str | None
    guard: str | None
    #: SHA-256 of all numbers of the evidence
    evidence: str | None
    exam: list[Exam]


class ReportBody(msgspec.Struct, frozen=True, kw_only=True):
    """One route's promotion report."""

    schema: int = SCHEMA
    basis: Basis
    limbeck: str
    made: str
    route: str
    student: str | None
    k: int | None
    stage: str | None
    headline: str
    #: good, bad, or wait: the colour of the verdict
    tone: str
    bar: str
    tiles: list[Named]
    numbers: list[Named]
    outcomes: list[Outcome]
    traffic: list[Served]
    money: list[str]
    exam: list[Exam]
    funnel: list[Named]
    disagreements: list[Difference]
    events: list[Happened]
    caveats: list[str]
    commands: list[str]
    lineage: list[Named]
    history: list[Point]
    shares: list[Slice]
    #: log of the threshold that the gate must reach, and of the guard's alarm level
    log_threshold: float | None
    log_alarm: float | None
    #: the bars, each of which must be passed; None: not set
    retention: float | None
    min_score: float | None = None
    margin: float | None = None
    #: (log E's place in time, stage) of each transition of this student
    marks: list[tuple[float, str]]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A finished report in its three forms."""

    #: of the basis: the report's name
    sha256: str
    basis: Basis
    route: str
    student: str | None
    json: bytes
    markdown: str
    html: str
