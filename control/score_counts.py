"""How many answers of a route have a score, and why the others have none."""

from __future__ import annotations

import msgspec

from control.config.values import RouteConfig
from traces.store import Store


class ScoreCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The teacher's answers under one metric, each by its newest score."""

    scored: int = 0
    #: of those, with at least the route's ``pass_score``
    passing: int = 0
    not_scored: int = 0
    #: without the scores that volunteered labels made; None: there is no other
    mean: float | None = None
    #: the commonest reason of "not scored", and how often it was given; None: no answer lacks one
    why_not: str | None = None
    why_not_n: int = 0


def score_counts(store: Store, route: RouteConfig, metric_hash: str) -> ScoreCounts:
    """Count the scores of ``route`` under the metric with this hash."""
    found = store.one(
        "route_scores",
        ScoreCounts,
        route=route.name,
        metric_hash=metric_hash,
        pass_score=route.pass_score,
    )
    return found or ScoreCounts()
