"""The conditions of the state table about a student that answers too late, with errors, or not."""

from __future__ import annotations

from router.view import Condition, View, duration


def _fit(view: View) -> str | None:
    if view.the.unhealthy_since is None:
        return None
    return f"unavailable for {duration(view.now - view.the.unhealthy_since)}"


def _unfit(view: View) -> str | None:
    return None if view.the.unhealthy_since is not None else "no availability fault"


def why_unavailable(view: View) -> str | None:
    """Say why the student can't be relied on to answer; None: it can."""
    health = view.signal.facts.health
    if health.unreachable is not None:
        return f"endpoint gone: {health.unreachable}"
    if health.breakers_open_since is not None and view.the.weight > 0:
        # Breakers close on live requests only: without weight they say nothing, and after a return
        # they get the whole time again.
        open_for = view.now - max(health.breakers_open_since, view.the.availability_from)
        if open_for >= view.policy.guard.breakers_open_s:
            return f"all breakers open for {duration(open_for)}"
    return health.availability.reason if health.availability.verdict == "alarm" else None


def _unavailable(view: View) -> str | None:
    if why_unavailable(view) is not None:
        return None
    return view.signal.facts.health.availability.reason


def _flapping(view: View) -> str | None:
    policy = view.policy.guard
    holds = 1 + view.the.holds_in_window(policy, now=view.now, sent=view.signal.facts.health.sent)
    if holds >= policy.flap_holds:
        return None
    return f"availability hold {holds} of {policy.flap_holds} in the window"


def _healthy_dwell(view: View) -> str | None:
    rollout, health, dwells = view.the, view.signal.facts.health, view.policy.guard.return_dwell_s
    holds = rollout.holds_in_window(view.policy.guard, now=view.now, sent=health.sent)
    dwell = dwells[min(max(holds, 1), len(dwells)) - 1]
    if health.healthy_since is None or health.unreachable is not None:
        return f"unhealthy; returns after {duration(dwell)} without a failure"
    # The fault itself, and not only the last probe before it, starts the dwell.
    since = max(health.healthy_since, rollout.unhealthy_since or health.healthy_since)
    # What is not in the store yet may be a failure.
    known_to = view.now if health.known_to is None else min(view.now, health.known_to)
    if known_to - since >= dwell:
        return None
    return f"healthy for {duration(known_to - since)} of {duration(dwell)}"


def _gone_too_long(view: View) -> str | None:
    since, limit = view.the.unhealthy_since, view.policy.guard.gone_after_s
    if since is not None and view.now - since >= limit:
        return None
    return f"not unhealthy for {duration(limit)}"


FIT = Condition("no availability fault", _fit)
UNFIT = Condition("availability fault", _unfit)
UNAVAILABLE = Condition("availability alarm", _unavailable)
AVAILABLE = Condition("no availability alarm", why_unavailable)
FLAPPING = Condition("5th hold in the window", _flapping)
HEALTHY_DWELL = Condition("healthy dwell", _healthy_dwell)
GONE_TOO_LONG = Condition("unhealthy for 7 days", _gone_too_long)
