"""The evidence of all candidates: one feed each, kept up with health and pairs."""

from __future__ import annotations

from collections.abc import Mapping

from control.candidates import CandidateKey
from control.collecting import Known
from control.config.values import RouteConfig
from control.evidence_feed import EvidenceFeed
from control.health import HealthWatch
from control.measure import Measure
from control.rollouts import Rollouts
from control.stored_pair import Sides
from router.stages import ENDED
from router.state import Rollout
from router.verdicts import EvidenceSummary
from traces.store import Store


class Feeds:
    """Call under the lock of the rollouts."""

    def __init__(
        self,
        store: Store,
        *,
        rollouts: Rollouts,
        health: HealthWatch,
        measures: Mapping[str, Measure],
    ) -> None:
        self._store = store
        self._rollouts = rollouts
        self._health = health
        self._measures = measures
        self._feeds: dict[CandidateKey, EvidenceFeed] = {}

    def of(self, route: RouteConfig, rollout: Rollout) -> EvidenceFeed:
        """A candidate's feed, computed from the stored pairs when it is first asked for."""
        key = CandidateKey(route=route.name, student=rollout.student, k=rollout.k)
        feed = self._feeds.get(key)
        if feed is None:
            feed = EvidenceFeed(self._store, key, route.policy, rollout.marks)
            self._feeds[key] = feed
        feed.follow(rollout.marks)
        return feed

    def summary(self, route: RouteConfig, rollout: Rollout, *, now: float) -> EvidenceSummary:
        """All numbers about a candidate now."""
        return self.of(route, rollout).evidence.summary(now)

    def read(self, route: RouteConfig, known: Known) -> None:
        """Take in the health and the pairs of a route, as far as the log is known.

        Health is read to the end of what was collected: one request that takes minutes holds up
        the pairs behind it, and must not hide that the others fail.
        """
        rollouts = self._rollouts.of(route.name).rollouts
        present = {CandidateKey(route=route.name, student=r.student, k=r.k) for r in rollouts}
        for key in [key for key in self._feeds if key.route == route.name and key not in present]:
            del self._feeds[key]
        alive = [rollout for rollout in rollouts if rollout.stage not in ENDED]
        self._health.read(
            route.name,
            alive,
            route.policy.guard,
            to=known.collected_to,
            deadline_s=route.deadline_s,
        )
        for rollout in alive:
            self._consume(route, rollout, known.to(route.name))

    def _consume(self, route: RouteConfig, rollout: Rollout, through: float) -> None:
        measure = self._measures.get(route.name)
        if measure is None:
            return
        feed = self.of(route, rollout)
        student = self._health.student(route.name, rollout, route.policy.guard)
        teacher = self._health.teacher(route.name)
        try:
            feed.consume(
                through=through,
                metric_hash=measure.metric_hash,
                sides=Sides(
                    student=student.outages,
                    teacher=teacher.outages,
                    known_to=min(student.read_to, teacher.read_to),
                ),
            )
        except BaseException:
            # Pairs may be stored and the feed's state not: a new feed reads what is there.
            self._feeds.pop(
                CandidateKey(route=route.name, student=rollout.student, k=rollout.k), None
            )
            raise
