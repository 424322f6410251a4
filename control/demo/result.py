"""What the demo found, as a value, and the table at its end."""

from __future__ import annotations

import msgspec
from rich.console import Console
from rich.table import Table

from control.demo.scene import STUDENT_PRICE, Scene
from control.demo.stand_in import PRICE_IN, PRICE_OUT
from control.demo.traffic import Window
from control.report import words
from router.verdicts import EvidenceSummary


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One side's score over the evidence, with the interval that holds at every look."""

    score: float | None
    low: float | None
    high: float | None
    pairs: int

    def __str__(self) -> str:
        return f"{words.score(self.score)} ({words.interval(self.low, self.high)})"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What callers saw in one part of the story."""

    part: str
    sent: int
    failed: int
    right: float | None
    p50_s: float | None
    p95_s: float | None
    by_student: float
    cost_per_1000_usd: float | None


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the demo reports."""

    about: str
    #: how it ended: rolled_back, live, or what the gate said instead
    ending: str
    #: the gate's, or the rollout's, own words
    reason: str
    student: str | None
    trainer: str | None
    teacher_side: Side | None
    student_side: Side | None
    requests_sent: int
    requests_failed: int
    #: pairs between the change of the world and the alarm
    detection_pairs: int | None
    detection_s: float | None
    #: guard's alarm: from the override file to the last worker's acknowledgement
    rollback_s: float | None
    #: `limbeck rollback`: from the start of the command to the last acknowledgement
    command_s: float | None
    seen: tuple[Seen, ...]
    report: str
    seconds: float


def teacher_side(evidence: EvidenceSummary) -> Side:
    """What the pairs say about the teacher."""
    low, high = evidence.teacher_interval or (None, None)
    return Side(score=evidence.mean_teacher, low=low, high=high, pairs=evidence.n)


def student_side(evidence: EvidenceSummary) -> Side:
    """What the pairs say about the student."""
    low, high = evidence.student_interval or (None, None)
    return Side(score=evidence.mean_student, low=low, high=high, pairs=evidence.n)


def seen(part: str, window: Window) -> Seen:
    """What callers saw in one part."""
    answered = len(window.latencies_s)
    return Seen(
        part=part, sent=window.sent, failed=window.failed,
        right=window.right / answered if answered else None,
        p50_s=window.quantile(0.5), p95_s=window.quantile(0.95),
        by_student=window.served_by.get("student", 0) / answered if answered else 0.0,
        cost_per_1000_usd=1000 * window.cost_usd / answered if answered else None,
    )  # fmt: skip


def print_result(console: Console, result: DemoResult, scene: Scene) -> None:
    """Print the table."""
    table = Table(title="What callers saw", title_justify="left", box=None, pad_edge=False)
    for name in ("part", "sent", "failed", "right", "p50", "p95", "by student", "per 1,000"):
        table.add_column(name, justify="left" if name == "part" else "right")
    for row in result.seen:
        table.add_row(
            row.part, f"{row.sent:,}", f"{row.failed:,}", words.score(row.right),
            words.duration(row.p50_s), words.duration(row.p95_s), f"{row.by_student:.0%}",
            words.spent(row.cost_per_1000_usd, 0),
        )  # fmt: skip
    console.print()
    console.print(table)
    console.print()
    for name, value in _lines(result):
        console.print(f"  {name:<30}{value}", markup=False)
    console.print(
        f"\n  Prices are assumptions: stand-in ${PRICE_IN:g} in and ${PRICE_OUT:g} out, student "
        f"${STUDENT_PRICE:g} in and out, per million tokens;\n  the stand-in's latency is made up "
        f"too (median {scene.latency_s:g} s). Scores, statistics and times of limbeck are real.",
        markup=False,
    )


def _lines(result: DemoResult) -> list[tuple[str, str]]:
    how = (result.ending.replace("_", " "), result.reason)
    lines = [("how it ended", ": ".join(word for word in how if word))]
    if result.student is not None:
        lines.append(("student", f"{result.student} ({result.trainer})"))
    for name, side in (("teacher", result.teacher_side), ("student", result.student_side)):
        if side is not None and side.score is not None:
            pairs = words.plural(side.pairs, "pair")
            lines.append((f"score of the {name}", f"{side} over {pairs}"))
    lines.append(
        ("requests sent / failed", f"{result.requests_sent:,} / {result.requests_failed:,}")
    )
    if result.detection_pairs is not None and result.detection_s is not None:
        pairs = words.plural(result.detection_pairs, "pair")
        lines.append(("detection delay", f"{pairs}, {words.duration(result.detection_s)}"))
    if result.rollback_s is not None:
        taken = words.duration(result.rollback_s)
        lines.append(("rollback by the guard", f"{taken} to the last worker"))
    if result.command_s is not None:
        taken = words.duration(result.command_s)
        lines.append(("rollback by the command", f"{taken} from its start to the last worker"))
    lines.append(("report", result.report))
    return lines
