"""Drives an installation to a stage of the story, as fast as its small scene allows."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from control.admin_client import AdminClient
from control.demo.traffic import Traffic
from control.report.model import ReportBody
from control.status import Ordered
from tests.acceptance.installation import ROUTE, Installation
from tests.polling import until


@contextmanager
def traffic(limbeck: Installation) -> Iterator[Traffic]:
    """Callers in a thread of their own: the demo's traffic, the truth included."""
    scene = limbeck.scene
    callers = Traffic(
        base_url=scene.base_url, api_key="any", route=ROUTE, world=limbeck.world,
        total=scene.requests, rate=scene.rate,
    )  # fmt: skip
    thread = threading.Thread(target=lambda: asyncio.run(callers.run()), daemon=True)
    thread.start()
    try:
        yield callers
    finally:
        callers.stop()
        thread.join(60)
        assert not thread.is_alive()


def stage_of(limbeck: Installation) -> str | None:
    students = limbeck.status()["routes"][0]["students"]
    return students[0]["stage"] if students else None


def approve(limbeck: Installation) -> None:
    """Ask for the report and consent to it, as a person would."""
    with AdminClient(limbeck.layout) as admin:
        name, _ = admin.report(ROUTE, ReportBody)
        admin.post(f"/routes/{ROUTE}:approve", Ordered, report=name, actor="test")


def drive_to(limbeck: Installation, stage: str, *, seconds: float = 240.0) -> None:
    """Wait, under traffic, until the newest student stands at ``stage``; approve on the way."""
    deadline = time.monotonic() + seconds
    approved = False

    def there() -> bool:
        nonlocal approved
        now = stage_of(limbeck)
        if now == "READY" and stage != "READY" and not approved:
            approve(limbeck)
            approved = True
        return now == stage

    until(there, seconds=max(1.0, deadline - time.monotonic()), what=f"a student at {stage}")
