"""The sentence at the top of a report, its figures, and what to read before approving. Pure."""

from __future__ import annotations

from control.report import words
from control.report.model import Named
from router.stages import Stage
from router.state import Rollout
from router.verdicts import EvidenceSummary

_GOOD = frozenset({Stage.READY, Stage.R1, Stage.R5, Stage.R25, Stage.R50, Stage.LIVE})
_BAD = frozenset({Stage.ROLLED_BACK, Stage.REJECTED, Stage.KILLED})


def tone(rollout: Rollout | None) -> str:
    """good, bad or wait."""
    if rollout is None:
        return "wait"
    return "good" if rollout.stage in _GOOD else "bad" if rollout.stage in _BAD else "wait"


def headline(rollout: Rollout | None, summary: EvidenceSummary | None) -> str:
    """The verdict in a sentence or two."""
    if rollout is None or summary is None:
        return "The teacher answers everything. No student has been distilled yet."
    scores = (
        f"Over {words.plural(summary.n, 'pair')} the student scores "
        f"{words.score(summary.mean_student)}, the teacher {words.score(summary.mean_teacher)}."
    )
    if summary.n == 0:
        return "Shadow evaluation has begun; there is no scored pair yet."
    if rollout.stage is Stage.READY:
        return f"The gate passed: {summary.gate.reason}. {scores} A person may approve it."
    if rollout.stage is Stage.SHADOW:
        return f"Shadow evaluation goes on: {summary.gate.reason}. {scores}"
    if rollout.why:
        return f"{rollout.why}. {scores}"
    return scores


def tiles(summary: EvidenceSummary | None) -> list[Named]:
    """The figures that everybody asks for first."""
    if summary is None:
        return []
    student, teacher = summary.student_interval, summary.teacher_interval
    return [
        _scored("student's score", summary.mean_student, student),
        _scored("teacher's score", summary.mean_teacher, teacher),
        Named(
            name=f"E, of {summary.threshold:.3g} needed by candidate {summary.k}",
            value=words.e_value(summary.log_e),
        ),
        Named(name="scored pairs", value=f"{summary.n_all:,}"),
    ]


def numbers(summary: EvidenceSummary) -> list[Named]:
    """Everything that the test stands on."""
    rows = []
    for form in summary.forms:
        rows += [
            Named(
                name=f"E against {form.kind} {form.bar:g}",
                value=words.e_value(form.log_e),
                note=f"promotes at {summary.threshold:.4g} (alpha {summary.alpha_k:.4f}); "
                f"anytime p {form.p:.2g}",
            ),
            Named(
                name="mean of D so far",
                value=words.score(form.mean_difference),
                note=f"at least {words.score(form.time_average)}, at every look",
            ),
            Named(
                name="proved at any look", value=words.score(form.proved),
                note=f"the strictest {form.kind} that the pairs reject everything below",
            ),
            Named(
                name="futility", value=words.e_value(form.log_futility),
                note=f"rejects at {20:g}; all copies {words.e_value(form.log_futility_all)}",
            ),
            Named(
                name="missing pairs that would undo it", value=f"{form.tipping_point:,}",
                note="if the student had lost every one of them",
            ),
        ]  # fmt: skip
        if form.pairs_needed:
            rows.append(Named(name="pairs still needed", value=f"about {form.pairs_needed:,}"))
    rows += [
        Named(
            name="negative control",
            value="rejected" if summary.control_rejected else "not rejected yet",
            note=f"the student's previous answer, scored by the same metric on {summary.control_n} "
            "pairs: a metric must be able to fail",
        ),
        Named(
            name="label coverage", value=words.score(summary.label_coverage),
            note="labels that arrived in time; below .900 nothing is promoted",
        ),
        Named(
            name="outage windows left out", value=str(summary.outage_windows),
            note=f"{summary.outage_share:.1%} of the pairs' time",
        ),
    ]  # fmt: skip
    for guard in summary.guards:
        rows.append(
            Named(
                name=f"guard ({guard.guard}, {guard.bar:.3f})", value=words.e_value(guard.log_m),
                note=f"alarm at {guard.arl:,.0f}, over {words.plural(guard.n, 'pair')}",
            )
        )  # fmt: skip
    return rows


def caveats(summary: EvidenceSummary | None, *, unknown_prices: bool) -> list[str]:
    """What the evidence does not say."""
    lines = [
        "The bound is about your metric: what the metric cannot see, the proof does not cover.",
        "The test rejects that the student was never better than the bar on average; the guard, "
        "not the test, watches whether it still is.",
    ]
    if summary is not None and summary.label_coverage is not None and summary.label_coverage < 1:
        lines.append(
            f"{1 - summary.label_coverage:.1%} of the sampled requests got no label in time. "
            "Labels that are missing for a reason that depends on the answer would bias the result."
        )
    if unknown_prices:
        lines.append("Some prices are not configured: their costs are unknown, and not counted.")
    return lines


def _scored(name: str, mean: float | None, bounds: tuple[float, float] | None) -> Named:
    low, high = bounds if bounds is not None else (None, None)
    return Named(name=f"{name} ({words.interval(low, high)})", value=words.score(mean))
