"""Who is being shadowed: one value per candidate, made anew from the rollouts for every tick."""

from __future__ import annotations

from typing import Any

import msgspec

from control.config.values import Price, RouteConfig
from router.snapshot import Target, Upstream


class CandidateKey(msgspec.Struct, frozen=True, kw_only=True):
    """What pairs and evidence are stored under."""

    route: str
    student: str
    k: int

    @property
    def params(self) -> dict[str, Any]:
        """As parameters of queries."""
        return {"route": self.route, "student": self.student, "k": self.k}


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where one side of a route answers, and what it costs."""

    upstream: Upstream
    target: Target
    #: None: unknown, which is never 0
    price: Price | None = None


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A student under evaluation."""

    config: RouteConfig
    student: str
    #: candidate number
    k: int
    stage: str
    metric_hash: str
    #: only requests after this moment are evidence: training cut-off and registration, Unix seconds
    since: float
    on_student: Endpoint
    on_teacher: Endpoint

    @property
    def route(self) -> str:
        return self.config.name

    @property
    def key(self) -> CandidateKey:
        return CandidateKey(route=self.route, student=self.student, k=self.k)
