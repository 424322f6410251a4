"""The sentence at the top of a report, its figures, and what to read before approving. Pure."""

from __future__ import annotations

from control.report import words
from control.report.model import RECENT, Named, Point
from control.report.stored import Traffic
from router.policy import RolloutPolicy
from router.stages import RAMP, Stage
from router.state import Rollout
from router.verdicts import EvidenceSummary, GuardSummary

_GOOD = frozenset({Stage.READY, Stage.R1, Stage.R5, Stage.R25, Stage.R50, Stage.LIVE})
_BAD = frozenset({Stage.ROLLED_BACK, Stage.REJECTED, Stage.KILLED})
_STANDING = {
    Stage.SHADOW: "Not proved yet; the teacher answers everything",
    Stage.READY: "Good enough by the bar; a person may approve it",
    Stage.ROLLED_BACK: "Taken back; the teacher answers everything",
    Stage.REJECTED: "Not good enough; the teacher answers everything",
    Stage.INCONCLUSIVE: "Not decided; a person extends the search or rejects the student",
    Stage.KILLED: "Switched off by a person; the teacher answers everything",
}


def tone(rollout: Rollout | None) -> str:
    """good, bad or wait."""
    if rollout is None:
        return "wait"
    return "good" if rollout.stage in _GOOD else "bad" if rollout.stage in _BAD else "wait"


def headline(
    rollout: Rollout | None,
    summary: EvidenceSummary | None,
    latest: Point | None,
    policy: RolloutPolicy,
) -> str:
    """The verdict in a few sentences: who answers, why, and what the scores are.

    ``latest``: where the evidence stands after the last scored pair.
    """
    if rollout is None or summary is None:
        return "The teacher answers everything. No student has been distilled yet."
    searching = rollout.stage in (Stage.SHADOW, Stage.READY)
    why = summary.gate.reason if searching and summary.n else rollout.why
    sentences = [_standing(rollout, policy), why]
    if summary.n:
        sentences.append(
            f"Over {words.plural(summary.n, 'pair')} the student scores "
            f"{words.score(summary.mean_student)}, the teacher {words.score(summary.mean_teacher)}"
        )
        if latest is not None and _fired(summary):
            sentences.append(
                f"Over {_last_pairs(summary)} the student scores "
                f"{words.score(latest.recent_student)}, the teacher "
                f"{words.score(latest.recent_teacher)}"
            )
    else:
        sentences.append("There is no scored pair yet")
    return " ".join(f"{one[0].upper()}{one[1:].rstrip('.')}." for one in sentences if one)


def _standing(rollout: Rollout, policy: RolloutPolicy) -> str:
    if rollout.stage is Stage.HELD:
        return f"On hold; it is sent {words.percent(rollout.weight)} of the requests"
    if rollout.stage in RAMP:
        return f"On trial; it is sent {words.percent(rollout.weight)} of the requests"
    if rollout.stage is Stage.LIVE:
        return f"It answers all requests but the {words.percent(policy.holdout)} of the holdout"
    return _STANDING[rollout.stage]


def tiles(
    summary: EvidenceSummary | None,
    latest: Point | None,
    teacher: Traffic | None,
    student: Traffic | None,
) -> list[Named]:
    """The figures that everybody asks for first: how good, how dear, how fast, how sure."""
    figures = []
    if summary is not None and latest is not None and _fired(summary):
        # The means of all pairs hide what the guard has found.
        figures.append(
            Named(
                name=f"student's score over {_last_pairs(summary)}",
                value=words.score(latest.recent_student),
                note=f"teacher: {words.score(latest.recent_teacher)}",
            )
        )
    if summary is not None and summary.n:
        pairs = words.plural(summary.n, "pair")
        student_mean, teacher_mean = summary.mean_student, summary.mean_teacher
        figures += [
            _scored(f"student's score over {pairs}", student_mean, summary.student_interval),
            _scored(f"teacher's score over {pairs}", teacher_mean, summary.teacher_interval),
        ]
    figures += _price_and_time(teacher, student)
    if summary is not None and summary.n:
        figures.append(
            Named(
                name=f"E over {words.plural(summary.n, 'pair')}",
                value=words.e_value(summary.log_e),
                note=f"promotes at {summary.threshold:.3g}",
            )
        )
        guard = nearest_alarm(summary)
        if guard is not None:
            figures.append(
                Named(
                    name="M of the guard",
                    value=words.e_value(guard.log_m),
                    note=f"rolls back at {guard.arl:,.0f}",
                )
            )
    return figures


def nearest_alarm(summary: EvidenceSummary) -> GuardSummary | None:
    """Of the guards that roll back, one for each bar, the one with the highest M."""
    running = [guard for guard in summary.guards if guard.guard == "bar" and guard.n]
    return max(running, key=lambda guard: guard.log_m or 0.0, default=None)


def _fired(summary: EvidenceSummary) -> bool:
    return summary.guard.verdict != "clear"


def _last_pairs(summary: EvidenceSummary) -> str:
    return f"the last {words.plural(min(RECENT, summary.n_all), 'pair')}"


def _price_and_time(teacher: Traffic | None, student: Traffic | None) -> list[Named]:
    one = student or teacher
    if one is None:
        return []
    beside = ("", "")
    if student is not None and teacher is not None:
        beside = (
            f"teacher: {words.per_1000(teacher.mean_cost_usd)}",
            f"teacher: {words.milliseconds(teacher.p50_ms)}",
        )
    who = "student" if student is not None else "teacher"
    return [
        Named(
            name=f"cost of 1,000 requests by the {who}",
            value=words.per_1000(one.mean_cost_usd),
            note=beside[0],
        ),
        Named(
            name=f"median latency of the {who}",
            value=words.milliseconds(one.p50_ms),
            note=beside[1],
        ),
    ]


def caveats(summary: EvidenceSummary | None, *, answered: int, no_cost: int) -> list[str]:
    """What the evidence does not say. ``no_cost``: of the answers, those whose cost is unknown."""
    lines = []
    if summary is not None:
        lines += [
            "The bound is about your metric: what the metric cannot see, the proof does not cover.",
            "A passed test shows that the student was above the bar at some time. Whether it still "
            "is, only the guard watches.",
        ]
    if summary is not None and summary.label_coverage is not None and summary.label_coverage < 1:
        lines.append(
            f"{1 - summary.label_coverage:.1%} of the sampled requests got no label in time. "
            "Labels that are missing for a reason that depends on the answer would bias the result."
        )
    if no_cost:
        lines.append(
            f"The cost of {no_cost:,} of {words.plural(answered, 'answer')} is unknown (no price "
            "in the configuration, or no token counts): it is left out, not counted as 0."
        )
    return lines


def commands(route: str, rollout: Rollout | None) -> list[str]:
    """What a person may do next. An approval names the report, which knows no name of its own."""
    if rollout is None:
        return [f"limbeck distill {route}", f"limbeck status {route}"]
    rollback = f'limbeck rollback {route} --reason "..."'
    match rollout.stage:
        case Stage.SHADOW:
            return [f"limbeck report {route}"]
        case Stage.INCONCLUSIVE:
            return [f"limbeck extend {route}", f"limbeck reject {route}"]
        case Stage.ROLLED_BACK:
            return [f"limbeck distill {route}", f"limbeck retry {route}"]
        case Stage.REJECTED:
            return [f"limbeck distill {route}"]
        case Stage.KILLED:
            return [f'limbeck unkill {route} --reason "..."']
        case Stage.HELD:
            return [f"limbeck resume {route}", rollback]
    return [rollback]


def _scored(name: str, mean: float | None, bounds: tuple[float, float] | None) -> Named:
    low, high = bounds if bounds is not None else (None, None)
    return Named(name=name, value=words.score(mean), note=words.interval(low, high))
