"""A store as control leaves it behind, in each state of a student's life. Seeded."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from control.report import Report, build
from control.report.model import ReportBody
from router.evidence import Evidence
from router.pairs import Marks
from router.policy import Policy
from router.stages import Stage
from router.state import Rollout, RouteRollouts
from tests.control.stored import ROUTE, T0, config_of, trace_row
from traces.rows import TraceRow
from traces.store import Store
from traces.times import from_seconds

STUDENT = "s1-3fa2"
PRICE = {"input_per_m": 0.05, "output_per_m": 0.05}
#: what a request costs
TEACHER_USD, STUDENT_USD = 0.001, 0.000001
#: seconds between two requests
PACE = 0.5
WORDS = ("parcel", "refund", "invoice", "kettle", "voucher", "address", "Monday", "broken")


@dataclass
class Filled:
    """One route's store, filled step by step along one clock."""

    store: Store
    tmp_path: Path
    now: float = T0
    rollout: Rollout | None = None
    seq: int = 0
    events: int = 0
    route: dict[str, Any] = field(default_factory=lambda: {"student_price": PRICE})

    def __post_init__(self) -> None:
        self.rng = random.Random(7)
        self.config = config_of(self.tmp_path, **self.route).routes[ROUTE]

    def traffic(self, n: int, *, by_student: float = 0.0, **changes: Any) -> None:
        """Answered requests, a share of them by the student."""
        rows = [self._request(self.rng.random() < by_student, **changes) for _ in range(n)]
        self.store.append("traces", rows)

    def pairs(self, n: int, *, teacher: float, student: float, reverse: float = 0.0) -> None:
        """Consumed pairs in which each side is right with its own probability."""
        self._pairs(
            self._pair(
                float(self.rng.random() < teacher), float(self.rng.random() < student),
                reverse=self.rng.random() < reverse,
            )
            for _ in range(n)
        )  # fmt: skip

    def pair(self, teacher: float | None, student: float | None, **changes: Any) -> None:
        """One consumed pair; without scores it was dropped."""
        self._pairs([self._pair(teacher, student, **changes)])

    def _request(
        self, student: bool = False, *, text: str | None = None, **changes: Any
    ) -> TraceRow:
        self.now += PACE
        served = {"served_by": "teacher", "latency_ms": self.rng.uniform(300, 700)}
        served |= {"cost_usd": TEACHER_USD}
        if student:
            served = {"served_by": "student", "student": STUDENT, "cost_usd": STUDENT_USD}
            served |= {"latency_ms": self.rng.uniform(8, 30)}
        words = text if text is not None else " ".join(self.rng.choices(WORDS, k=9))
        return trace_row(self.now, text=words, **(served | changes))

    def _pair(
        self, teacher: float | None, student: float | None, *, reverse: bool = False,
        text: str | None = None, **changes: Any,
    ) -> tuple[TraceRow, dict[str, Any]]:  # fmt: skip
        self.seq += 1
        request = self._request(reverse, text=text)
        row = {
            "route": ROUTE, "student": STUDENT, "k": 1, "trace_id": request.trace_id,
            "ts": from_seconds(self.now), "kind": "reverse_shadow" if reverse else "shadow",
            "seq": self.seq, "outcome": "scored" if teacher is not None else "unlabelled",
            "metric_hash": "m", "teacher_score": teacher, "student_score": student,
            "control_score": None if teacher is None else 0.0, "pair_weight": 1.0,
            "propensity": 0.5, "coverage": "all", "cluster": request.trace_id,
            "deadline": from_seconds(self.now), "teacher_answer": "refund_status",
            "student_answer": "track_order", "student_status": 200,
            "student_ms": None if reverse else 15.0,
            "cost_usd": TEACHER_USD if reverse else STUDENT_USD, "attempts": 1,
        }  # fmt: skip
        return request, row | changes

    def _pairs(self, made: Iterable[tuple[TraceRow, dict[str, Any]]]) -> None:
        requests, rows = zip(*made, strict=True)
        self.store.append("traces", requests)
        self.store.append("pairs", [tuple(row.values()) for row in rows])
        costs = [(row["ts"], ROUTE, row["kind"], row["cost_usd"], "") for row in rows]
        self.store.append("costs", costs)

    def event(self, name: str, stage: Stage, reason: str = "", actor: str = "auto") -> None:
        """A transition of the student."""
        self.events += 1
        before = self.rollout.stage.value if self.rollout else None
        self.store.run(
            "insert_event", seq=self.events, ts_us=round(self.now * 1e6), route=ROUTE,
            student=STUDENT, event=name, stage_from=before, stage_to=stage.value, actor=actor,
            reason=reason, report=None, body="{}", prev_hash="0", hash=str(self.events),
        )  # fmt: skip
        old = self.rollout
        marks = old.marks if old else Marks()
        if stage is Stage.READY:
            marks = Marks(guard_from=self.now)
        self.rollout = Rollout(
            student=STUDENT, k=1, stage=stage, entered=self.now, marks=marks,
            why=reason if stage in (Stage.ROLLED_BACK, Stage.HELD) else "",
        )  # fmt: skip

    def student(self) -> None:
        """A trained student with its dataset and its exam, registered."""
        ts = from_seconds(self.now)
        counts = {
            "traces": 900, "rows": {"train": 640, "dev": 60, "calibration": 80, "exam": 75},
            "sources": {"teacher": 600, "correction": 40}, "dropped": {"duplicate input": 31},
            "pass_rate": 0.93, "near_share": 0.01,
        }  # fmt: skip
        self.store.append(
            "datasets",
            [("d-1", ts, ROUTE, "answer", "", "m", ts, "ab" * 32, json.dumps(counts), "{}")],
        )
        self.store.append(
            "students",
            [
                (
                    STUDENT, ts, ROUTE, "d-1", "j-1", "classifier", "", "m", ts, "{}", "cd" * 32,
                    "{}", None,
                )
            ],
        )  # fmt: skip
        self.store.append(
            "exams",
            [
                ("x/t", ts, ROUTE, "d-1", "teacher", "frozen", 75, 0.92, 0.84, 0.96, None, "{}"),
                ("x/s", ts, ROUTE, "d-1", STUDENT, "frozen", 75, 0.947, 0.87, 0.98, 0.09, "{}"),
            ],
        )  # fmt: skip
        self.event("student_registered", Stage.SHADOW, "chosen by the exam")

    def save_outage(self, start: float, end: float) -> None:
        """What control stores beside the pairs: the windows that it left out."""
        evidence = Evidence(Policy(), k=1, marks=Marks())
        evidence.exclude(start, end)
        self.store.run(
            "insert_checkpoint", route=ROUTE, student=STUDENT, k=1, seq=self.seq,
            ts_us=round(self.now * 1e6), state=msgspec.json.encode(evidence.state()).decode(),
        )  # fmt: skip

    def report(self, student: str | None = None) -> Report:
        rollouts = () if self.rollout is None else (self.rollout,)
        state = RouteRollouts(route=ROUTE, rollouts=rollouts, k=1, seq=self.events)
        return build(self.store, ROUTE, student, self.config, state, self.now)


def no_student(filled: Filled) -> None:
    filled.traffic(120)


def shadow(filled: Filled) -> None:
    """A student of which nothing is known yet."""
    filled.traffic(200)
    filled.student()


def ready(filled: Filled) -> None:
    shadow(filled)
    filled.pairs(350, teacher=0.93, student=0.94)
    filled.pair(None, None)
    filled.event("gate_promote", Stage.READY, "student >= 0.950 x teacher: E 79 (needs 32.9)")


def live(filled: Filled) -> None:
    ready(filled)
    filled.event("approve", Stage.R1, "looks right", actor="ann")
    for stage, weight in (
        (Stage.R5, 0.02),
        (Stage.R25, 0.05),
        (Stage.R50, 0.25),
        (Stage.LIVE, 0.5),
    ):
        filled.traffic(40, by_student=weight)
        filled.pairs(30, teacher=0.93, student=0.94, reverse=weight)
        filled.event("advance", stage, "enough requests, enough time")
    filled.traffic(400, by_student=0.98)
    filled.pairs(150, teacher=0.93, student=0.94, reverse=0.98)


def rolled_back(filled: Filled) -> None:
    live(filled)
    filled.pairs(60, teacher=0.93, student=0.2, reverse=0.98)
    filled.event(
        "quality_alarm", Stage.ROLLED_BACK,
        "quality: bar guard: no longer student >= 0.950 x teacher: M 10^6.6 reached 20,000 "
        "within 421 pairs",
    )  # fmt: skip
    filled.traffic(60)


STATES = {
    "no_student": no_student, "shadow": shadow, "ready": ready, "live": live,
    "rolled_back": rolled_back,
}  # fmt: skip


def body_of(report: Report) -> ReportBody:
    return msgspec.json.decode(report.json, type=ReportBody)
