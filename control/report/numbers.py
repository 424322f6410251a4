"""The table of everything that the test stands on. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from control.report import words
from control.report.model import Named
from router.bounds import smallest_detectable
from router.forms import Form, Kind
from router.policy import GatePolicy
from router.verdicts import EvidenceSummary, FormSummary, GuardSummary

#: how long a drop may take to be seen, where the report says which one would be
_DAYS = 7
_D = {
    "retention": "student - {bar:g} x teacher",
    "min_score": "student - {bar:g}",
    "margin": "student - teacher + {bar:g}",
}


def numbers(summary: EvidenceSummary, policy: GatePolicy) -> list[Named]:
    """Name, value, and what the value has to be compared with."""
    rows = [row for form in summary.forms for row in _bar(form, summary, policy)]
    rows.append(
        Named(
            name="scored pairs", value=f"{summary.n_all:,}",
            note="near-duplicates count once"
            + ("" if summary.n == summary.n_all else f": {summary.n:,} count"),
        )
    )  # fmt: skip
    rows.append(
        Named(
            name="negative control",
            value="rejected" if summary.control_rejected else "not rejected yet",
            note=f"the student's previous answer, scored by the same metric on "
            f"{words.plural(summary.control_n, 'pair')}: a metric must be able to fail",
        )
    )
    coverage = summary.label_coverage
    rows.append(
        Named(
            name="label coverage", value="-" if coverage is None else words.percent(coverage),
            note="labels that arrived in time; nothing is promoted below "
            f"{words.percent(policy.min_label_coverage)}",
        )
    )  # fmt: skip
    if summary.outage_windows:
        rows.append(
            Named(
                name="outage windows left out", value=f"{summary.outage_windows:,}",
                note=f"{words.percent(summary.outage_share)} of the pairs' time; nothing is "
                f"promoted above {words.percent(policy.max_outage_share)}",
            )
        )  # fmt: skip
    return [*rows, *(row for guard in summary.guards for row in _guard(guard, summary))]


def _bar(form: FormSummary, summary: EvidenceSummary, policy: GatePolicy) -> Iterator[Named]:
    yield Named(
        name=_form(form.kind, form.bar).says(form.bar),
        value=f"E {words.e_value(form.log_e)}",
        note=f"promotes at {summary.threshold:.4g}: candidate {summary.k} may pass by chance with "
        f"probability {summary.alpha_k:.2g}; p at any look {form.p:.2g}",
    )
    yield Named(
        name="mean of D",
        value=words.score(form.mean_difference),
        note=f"D = {_D[form.kind].format(bar=form.bar)}; at least "
        f"{words.score(form.time_average)}, at every look",
    )
    yield Named(
        name="proved at any look",
        value=words.score(form.proved),
        note="nothing yet"
        if form.proved is None
        else _form(form.kind, form.proved).says(form.proved),
    )
    yield Named(
        name="not good enough",
        value=f"E {words.e_value(form.log_futility)}",
        note=f"rejects at {1 / policy.beta:.4g}; with every near-duplicate counted "
        f"{words.e_value(form.log_futility_all)}",
    )
    if summary.passes:
        yield Named(
            name="missing pairs that would undo it",
            value=f"{form.tipping_point:,}",
            note="if the student had lost every one of them",
        )
    elif form.pairs_needed:
        yield Named(
            name="pairs still needed",
            value=f"about {form.pairs_needed:,}",
            note="at the present pace",
        )


def _guard(guard: GuardSummary, summary: EvidenceSummary) -> Iterator[Named]:
    form, warns = _form(guard.kind, guard.bar), guard.guard == "warn"
    yield Named(
        name=f"guard: no longer {form.says(form.bar)}",
        value=f"M {words.e_value(guard.log_m)}",
        note=f"{'warning: hold' if warns else 'alarm: roll back'} at {guard.arl:,.0f}; after "
        f"{words.plural(guard.n, 'pair')}",
    )
    student, teacher = summary.mean_student, summary.mean_teacher
    if warns or student is None or teacher is None or not summary.pairs_a_day:
        return
    pairs = _DAYS * summary.pairs_a_day
    drop = smallest_detectable(form, student, teacher, guard.arl, pairs)
    yield Named(
        name="smallest detectable drop",
        value="none" if drop is None else f"about {words.score(drop)}",
        note=f"of the student's score, seen by this guard within {_DAYS} days of your traffic "
        f"({words.plural(round(pairs), 'pair')})",
    )


def _form(kind: str, bar: float) -> Form:
    return Form(cast(Kind, kind), bar)
