"""What a dataset is made of: traces in, rows and reasons out. Values only.

Rows are keyed by the predictor's name. A plain route has one predictor, ``answer``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from programs.gold import ANSWER

#: the one predictor of a plain route, and its one output
PLAIN_PREDICTOR = ANSWER


class Split(StrEnum):
    """Where a row belongs; decided by the bucket that the collector stored at capture."""

    #: never trained on; chooses among candidates
    EXAM = "exam"
    #: unfiltered; temperatures and thresholds are chosen on it
    CALIBRATION = "calibration"
    #: early stopping and choices inside a trainer
    DEV = "dev"
    TRAIN = "train"


class Source(StrEnum):
    """Whose output a row carries."""

    #: the teacher's answer, which passed the metric
    TEACHER = "teacher"
    #: the corrected output of a request that was answered wrongly, or by a student
    CORRECTION = "correction"
    #: the same from anybody who cared to say so: no evidence, and no match for verified answers
    VOLUNTEERED = "volunteered correction"
    #: exam and calibration: the right output, whatever was answered
    GOLD = "gold"


class Drop(StrEnum):
    """Why a trace gave no row. The texts are stored and shown."""

    NOT_FINISHED = "not finished"
    ERROR_STATUS = "error status"
    TRUNCATED = "answer cut short"
    FALLBACK = "answered in a fallback"
    RETRY = "retry of another request"
    OTHER_VERSION = "other program version"
    NO_BUCKET = "no split bucket"
    NO_TEXT = "no text to learn from"
    NOT_TEXT = "messages that are not text alone"
    NO_CALL = "no complete call of the predictor"
    REPEATED_PREDICTOR = "the predictor ran more than once, and which run counts is not known"
    STUDENT_SERVED = "served by a student, without gold"
    NO_LABEL = "no label of coverage all or audit"
    NO_GOLD = "labelled as wrong, without the right output"
    GOLD_UNKNOWN = "gold names no output of the predictor"
    GOLD_INCOMPLETE = "gold lacks an output of the predictor"
    GOLD_TYPE = "gold of another type than the output"
    GOLD_EMPTY = "empty gold"
    NOT_SCORED = "not scored"
    BELOW_PASS = "below the pass score"
    DUPLICATE = "duplicate input"
    OUTVOTED = "volunteered, against verified answers to this input"
    OTHER_ANSWER = "another answer than the one kept for this input"
    TEACHER_DISAGREES = "the teacher contradicts itself on this input"
    NEAR_HOLDOUT = "near a dev, calibration or exam row"
    EXAM_FULL = "the exam is full"


class DatasetSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to build a dataset from, and by which rules."""

    route: str
    #: rows come from the program's predictor calls; else from the request and its answer
    program: bool
    #: a plain route that answers in JSON: equal objects are equal answers
    as_json: bool = False
    program_version: str
    metric_hash: str
    #: newest moment that counts, Unix seconds
    cutoff: float
    pass_score: float = 0.8
    #: the metric can't judge an answer that nobody has labelled
    needs_label: bool = True
    #: train rows, passing or corrected, below which nothing is trained
    min_rows: int = 100
    #: labelled exam rows below which no candidate could be chosen
    min_exam_rows: int = 10
    max_exam_rows: int = 2_000


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One predictor call of a trace, as the program host recorded it."""

    trace_id: str
    call_id: str
    predictor: str
    #: teacher, or the student's id
    side: str
    inputs: dict[str, Any]
    outputs: dict[str, Any] | None = None
    error: str | None = None


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded request with what is known about its answer."""

    trace_id: str
    #: Unix seconds
    ts: float
    state: str
    status: int | None
    #: how the transport ended: stop, client_disconnect, ...
    finish: str | None
    #: the provider's finish_reason: stop, length, ...
    finish_reason: str | None = None
    served_by: str
    fallback: str | None = None
    retry: bool = False
    program_version: str
    bucket: int | None
    #: the recorded request body, JSON
    request: str
    answer: str | None = None
    calls: tuple[Call, ...] = ()
    #: the right output as JSON text, if somebody gave it
    gold: str | None = None
    #: somebody said that the served answer was right, or wrong
    confirmed: bool | None = None
    #: coverage of the label's source: all, audit or volunteered
    coverage: str | None = None
    #: score of the served answer; None: not scored
    score: float | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a dataset."""

    trace_id: str
    call_id: str | None = None
    predictor: str
    split: Split
    source: Source
    #: what the predictor was given
    inputs: dict[str, Any]
    #: what it should answer; in the exam the known fields of the right output
    outputs: dict[str, Any]
    #: exam: the right output as the metric gets it, JSON text
    gold: str | None = None
    #: the recorded request body, JSON
    request: str
    #: the teacher's recorded answer to the request
    answer: str | None = None
    score: float | None = None
    weight: float = 1.0
    #: further rows with the same input and answer that this one stands for
    n_dups: int = 0


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """A trace, or one of its calls, that gave no row."""

    trace_id: str
    call_id: str | None = None
    predictor: str
    split: Split | None = None
    reason: Drop
    score: float | None = None


class Funnel(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows each stage left, for the report."""

    traces: int
    #: split -> rows kept
    rows: Mapping[str, int]
    #: source -> train rows kept
    sources: Mapping[str, int]
    #: reason -> rows dropped
    dropped: Mapping[str, int]
    #: share of the scored train and dev traces that passed; None: none was scored
    pass_rate: float | None
    #: share of the train rows that decontamination took
    near_share: float
    warnings: tuple[str, ...] = ()


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """A frozen selection of traces. The same rows give the same hash."""

    dataset_id: str
    sha256: str
    spec: DatasetSpec
    predictor: str
    rows: tuple[Row, ...]
    dropped: tuple[Dropped, ...]
    funnel: Funnel

    def split(self, split: Split) -> tuple[Row, ...]:
        """The rows of one split."""
        return tuple(row for row in self.rows if row.split is split)


class TooFewRows(msgspec.Struct, frozen=True, kw_only=True):
    """Not enough to train on yet: no failure, but a figure of what is missing."""

    #: what there is too little of: "train rows" or "labelled exam rows"
    what: str
    have: int
    need: int
    #: traces to come at today's yield; None: no trace has given such a row yet
    more_traces: int | None
    funnel: Funnel

    @property
    def reason(self) -> str:
        """One sentence for a person."""
        said = f"too few {self.what}: {self.have} of {self.need}"
        if self.more_traces is not None:
            return f"{said}; about {self.more_traces:,} more traces at today's yield"
        causes = sorted(self.funnel.dropped.items(), key=lambda item: (-item[1], item[0]))[:3]
        why = ", ".join(f"{n} x {reason}" for reason, n in causes) or "no traces yet"
        return f"{said}; none of {self.funnel.traces:,} traces gave one ({why})"


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """limbeck can't make a dataset of this route."""

    reason: str


Outcome = Dataset | TooFewRows | Refused
