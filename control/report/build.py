"""Makes a report in its three forms, named by the hash of what it says."""

from __future__ import annotations

import hashlib

import msgspec

from control.config.values import RouteConfig
from control.report.collect import collect
from control.report.model import Report
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

    The hash covers everything that the report says, so that an approval names evidence that
    somebody could see. Raises `LookupError` for a student without a rollout.
    """
    body = collect(store, route, student, config, rollouts, now)
    encoded = msgspec.json.encode(body, order="sorted")
    sha256 = hashlib.sha256(encoded).hexdigest()
    return Report(
        sha256=sha256, route=route, student=body.student, json=encoded,
        markdown=markdown(body, sha256), html=html(body, sha256),
    )  # fmt: skip
