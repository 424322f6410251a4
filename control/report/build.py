"""Makes a report in its three forms, named by the hash of the evidence that it shows."""

from __future__ import annotations

import hashlib

import msgspec

from control.config.values import RouteConfig
from control.report.collect import collect
from control.report.model import Report, ReportBody
from control.report.render import html, markdown
from router.state import RouteRollouts
from traces.store import Store


def build(
    store: Store,
    route: str,
    student: str | None,
    config: RouteConfig,
    rollouts: RouteRollouts,
    now: float,
) -> Report:
    """Report on ``student`` of ``route``, or on its newest one.

    The hash covers the evidence, so that an approval names evidence that somebody could see. Raises
    `LookupError` for a student without a rollout.
    """
    return drawn(collect(store, route, student, config, rollouts, now))


def drawn(body: ReportBody) -> Report:
    """What ``body`` says, in all forms."""
    sha256 = hashlib.sha256(msgspec.json.encode(body.basis, order="sorted")).hexdigest()
    return Report(
        sha256=sha256,
        basis=body.basis,
        route=body.route,
        student=body.student,
        json=msgspec.json.encode(body, order="sorted"),
        markdown=markdown(body, sha256),
        html=html(body, sha256),
    )
