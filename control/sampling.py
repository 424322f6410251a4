"""Which requests enter the evidence: a pure choice by hash, made before any score is known."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from router.hashing import unit_interval
from router.pairs import Kind
from router.policy import ShadowPolicy


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """A finished request of a route (query ``sampling_span``)."""

    trace_id: str
    #: start, Unix microseconds
    ts_us: int
    served_by: str
    student: str | None
    reason: str
    propensity: float
    conversation_id: str | None
    inputs_hash: str | None
    audit: bool
    audit_propensity: float | None
    answer: str


class Draw(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was drawn for a pair."""

    request: Finished
    kind: Kind
    #: probability of the draw, given who served
    propensity: float
    #: pairs of one cluster are copies of one input
    cluster: str


def draw(
    requests: Iterable[Finished],
    *,
    route: str,
    student: str,
    policy: ShadowPolicy,
    audited_only: bool,
    conversations: set[str],
) -> list[Draw]:
    """Draw pairs from ``requests``, in request order; one a conversation, its first drawn turn.

    ``audited_only``: labels come for the audit sample alone, so all of it is drawn, and only it.
    ``conversations`` holds those that have their pair already, and is extended.
    """
    drawn = []
    for request in requests:
        found = _kind(request, student, policy)
        if found is None:
            continue
        kind, rate = found
        if audited_only:
            if not request.audit:
                continue
            propensity = request.audit_propensity or 0.0
        elif unit_interval(kind, route, request.trace_id) < rate:
            propensity = rate
        else:
            continue
        if request.conversation_id is not None:
            if request.conversation_id in conversations:
                continue
            conversations.add(request.conversation_id)
        cluster = request.inputs_hash or request.trace_id
        drawn.append(Draw(request=request, kind=kind, propensity=propensity, cluster=cluster))
    return drawn


def _kind(request: Finished, student: str, policy: ShadowPolicy) -> tuple[Kind, float] | None:
    # Who answers a pinned request was chosen by the client, not by the hash: no evidence.
    if request.reason == "pin":
        return None
    if request.served_by == "teacher":
        return Kind.SHADOW, policy.sample_rate
    if request.student == student:
        return Kind.REVERSE_SHADOW, policy.reverse_rate
    return None
