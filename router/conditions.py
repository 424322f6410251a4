"""The named conditions of the state table: values in, None or the reason in words why not.

Those about a student that answers badly or not at all are in `router.availability`.
"""

from __future__ import annotations

from collections.abc import Callable

from router.events import AUTO
from router.forms import bar_text
from router.policy import Policy, Step
from router.stages import RESUMABLE, HeldReason, Stage
from router.verdicts import EvidenceSummary
from router.view import Condition, View, duration, short_hash


def is_held_for(reason: HeldReason) -> Condition:
    """The rollout is HELD, and this is one of its reasons."""

    def why_not(view: View) -> str | None:
        return None if reason in view.the.reasons else f"not held for {reason.value}"

    return Condition(f"held for {reason.value}", why_not)


def _resumable(view: View) -> str | None:
    if RESUMABLE.intersection(view.the.reasons):
        return None
    words = ", ".join(reason.value for reason in view.the.reasons)
    return f"held for {words}: that ends by itself, not by resume; roll back instead if you must"


def _not_killed(view: View) -> str | None:
    if view.route.killed:
        return f"route {view.route.route} is killed: `limbeck unkill` first"
    return None


def _artefact_there(view: View) -> str | None:
    lost = view.signal.facts.lost
    return None if lost is None else f"its model is gone: {lost}"


def _with_evidence(
    why_not: Callable[[EvidenceSummary], str | None],
) -> Callable[[View], str | None]:
    """Let ``why_not`` see evidence of the present candidate only; missing data moves nothing."""

    def check(view: View) -> str | None:
        evidence = view.signal.evidence
        if evidence is None:
            return "no evidence yet"
        if evidence.k != view.the.k:
            return f"the evidence is that of candidate {evidence.k}, this is {view.the.k}"
        return why_not(evidence)

    return check


def _gate_says(verdict: str) -> Callable[[View], str | None]:
    return _with_evidence(
        lambda evidence: None if evidence.gate.verdict == verdict else evidence.gate.reason
    )


def _guard_says(verdict: str) -> Callable[[View], str | None]:
    return _with_evidence(
        lambda evidence: None if evidence.guard.verdict == verdict else evidence.guard.reason
    )


def _watched(view: View) -> str | None:
    """E may be of last week: without pairs of this step nobody has seen how it goes."""
    evidence = view.signal.evidence
    if evidence is not None and evidence.step_scored > 0:
        return None
    return f"no scored pair since {view.the.stage.value} began: nothing watches the quality"


def _labelled(view: View) -> str | None:
    """Among all pairs of a long search those whose labels stopped coming would not show."""
    evidence, least = view.signal.evidence, view.policy.gate.min_label_coverage
    coverage = None if evidence is None else evidence.step_coverage
    if coverage is None or coverage >= least:
        return None
    began = f"since {view.the.stage.value} began"
    return f"label coverage {coverage:.3f} {began} is below {least:.2f}"


def _recovered(evidence: EvidenceSummary) -> str | None:
    if evidence.recovered:
        return None
    return "the gate process begun at the warning does not pass the bar yet"


def what_changed(view: View) -> tuple[str, ...]:
    """Name what is no longer as it was when the present evidence began."""
    old, new = view.the.hashes, view.signal.facts.hashes
    changes = (
        ("teacher", old.teacher, new.teacher),
        ("metric", old.metric, new.metric),
        ("bar", old.bar, bar_text(view.policy.gate)),
    )
    return tuple(name for name, before, now in changes if now and before != now)


def _changed(view: View) -> str | None:
    return None if what_changed(view) else "teacher, metric and bar are those of the evidence"


def _unchanged(view: View) -> str | None:
    """The tick that notices a change may come after the approval of what was shown before it."""
    changes = what_changed(view)
    return f"not as in the evidence any more: {', '.join(changes)}" if changes else None


def _report_current(view: View) -> str | None:
    current, given = view.signal.facts.report, view.signal.report
    if current is None:
        return "there is no report yet"
    if given != current:
        return f"report {given} is not the current one ({current}): read that one first"
    return None


def _may_approve(view: View) -> str | None:
    if view.signal.actor == AUTO and view.policy.rollout.approval != "none":
        report = view.signal.facts.report
        if report is None:
            return "waits for a person: the report is being made"
        return f"waits for a person's approval of report {short_hash(report)}"
    return None


def _settled(view: View) -> str | None:
    """Commands of people need not wait."""
    ready = view.signal.facts.control_started + view.policy.rollout.settle_s
    if view.signal.actor != AUTO or view.now >= ready:
        return None
    return f"control started lately: nothing advances for another {duration(ready - view.now)}"


def _no_freeze(view: View) -> str | None:
    freeze = view.signal.facts.freeze
    return None if freeze is None else f"a freeze is in force: {freeze}"


def _freeze(view: View) -> str | None:
    return "no freeze is in force" if view.signal.facts.freeze is None else None


def _room(view: View) -> str | None:
    other = view.route.challenger
    if other is None or other.student == view.the.student:
        return None
    return f"{other.student} is on the ramp ({other.step.value}): one challenger at a time"


def _expired(view: View) -> str | None:
    left = view.the.entered + view.policy.rollout.ready_expires_s - view.now
    return None if left <= 0.0 else f"READY expires in {duration(left)}"


def step_policy(stage: Stage, policy: Policy) -> Step:
    """Return what a ramp step needs before the next one."""
    rollout = policy.rollout
    return {
        Stage.R1: rollout.r1,
        Stage.R5: rollout.r5,
        Stage.R25: rollout.r25,
        Stage.R50: rollout.r50,
    }[stage]


def _step_done(view: View) -> str | None:
    rollout, step = view.the, step_policy(view.the.stage, view.policy)
    served, spent = view.signal.facts.health.served, view.now - rollout.entered
    dwell = f"{duration(spent)} of {duration(step.dwell_s)} dwell"
    if rollout.dry:
        # At weight 0 nobody is served.
        return None if spent >= step.dwell_s else f"dry run, {dwell}"
    if served >= step.served and spent >= step.dwell_s:
        return None
    return f"{served} of {step.served} served, {dwell}"


def _starved(view: View) -> str | None:
    rollout, step = view.the, step_policy(view.the.stage, view.policy)
    if rollout.dry:
        return "a dry run serves nobody"
    served, spent = view.signal.facts.health.served, view.now - rollout.entered
    patience = view.policy.rollout.patience * step.dwell_s
    if served < step.served and spent >= patience > 0.0:
        return None
    return f"{served} of {step.served} served within {duration(spent)} of {duration(patience)}"


def _every_step(view: View) -> str | None:
    every = view.policy.rollout.approval == "every"
    return None if every else "the policy asks for no further approval"


def _approved_once(view: View) -> str | None:
    return None if _every_step(view) else "every step needs approval"


def _consent(view: View) -> str | None:
    if view.policy.rollout.approval == "every" and not view.the.consent:
        report = view.signal.facts.report
        if report is None:
            return "every step needs approval: the report is being made"
        return f"every step needs approval: report {short_hash(report)} waits for it"
    return None


def _capacity(view: View) -> str | None:
    problem = view.signal.facts.capacity
    if problem is None or view.the.stage not in (Stage.R25, Stage.R50):
        return None
    return f"the teacher could not take the traffic back: {problem}"


def _cooled_down(view: View) -> str | None:
    left = view.the.entered + view.policy.rollout.cool_down_s - view.now
    return None if left <= 0.0 else f"cool-down: retry in {duration(left)}"


def _newer_live(view: View) -> str | None:
    mine = view.the.live_since
    for other in view.route.rollouts:
        newer = other.live_since is not None and (mine is None or other.live_since > mine)
        if other.stage is Stage.LIVE and newer and not other.dry:
            return None
    return "no newer student is LIVE"


def _on_live(view: View) -> str | None:
    return None if view.the.step is Stage.LIVE else "not LIVE"


def _dry(view: View) -> str | None:
    return None if view.the.dry else "not a dry run"


def _dry_run_off(view: View) -> str | None:
    return "dry_run is on" if view.policy.rollout.dry_run else None


def _said_why(view: View) -> str | None:
    return None if view.signal.reason.strip() else 'say why: it needs --reason "..."'


RESUMABLE_HOLD = Condition("a resumable reason", _resumable)
ROUTE_OPEN = Condition("route not killed", _not_killed)
ARTEFACT_THERE = Condition("artefact there", _artefact_there)
LOST_FOR_GOOD = Condition(
    "model or artefact gone",
    lambda view: "its model is there" if view.signal.facts.lost is None else None,
)
GATE_PROMOTES = Condition("gate promotes", _gate_says("promote"))
GATE_REJECTS = Condition("gate rejects", _gate_says("reject"))
GATE_UNDECIDED = Condition("cap reached", _gate_says("inconclusive"))
WATCHED = Condition("a scored pair of this step", _watched)
LABELLED = Condition("labels still come", _labelled)
QUALITY_ALARM = Condition("bar guard alarms", _guard_says("alarm"))
WARNING = Condition("warning detector fires", _guard_says("warn"))
NO_WARNING = Condition("no warning, no alarm", _guard_says("clear"))
RECOVERED = Condition("fresh gate passes", _with_evidence(_recovered))
CHANGED = Condition("teacher, metric or bar changed", _changed)
UNCHANGED = Condition("teacher, metric and bar unchanged", _unchanged)
REPORT_CURRENT = Condition("report is the current one", _report_current)
MAY_APPROVE = Condition("a person, or approval = none", _may_approve)
SETTLED = Condition("control has settled", _settled)
NO_FREEZE = Condition("no freeze", _no_freeze)
FREEZE = Condition("freeze in force", _freeze)
ROOM = Condition("no other challenger", _room)
EXPIRED = Condition("READY too long", _expired)
STEP_DONE = Condition("served and dwell", _step_done)
STARVED = Condition("5 dwells without enough requests", _starved)
EVERY_STEP = Condition("every step needs approval", _every_step)
APPROVED_ONCE = Condition("one approval is enough", _approved_once)
CONSENT = Condition("approved, if every step needs it", _consent)
CAPACITY = Condition("teacher's capacity", _capacity)
COOLED_DOWN = Condition("cool-down over", _cooled_down)
NEWER_LIVE = Condition("a newer student is LIVE", _newer_live)
ON_LIVE = Condition("held on LIVE", _on_live)
DRY = Condition("dry run so far", _dry)
DRY_RUN_OFF = Condition("dry_run off", _dry_run_off)
SAID_WHY = Condition("a reason", _said_why)
