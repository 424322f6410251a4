"""Looks at the running limbeck through its admin API, as any client could."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

from control.admin_client import AdminClient
from control.demo.processes import Cast
from control.demo.scene import ROUTE, Scene
from control.errors import ControlError, ControlUnreachable
from control.layout import Layout
from control.report.model import ReportBody
from control.status import Ordered, RouteStatus, Status, StudentStatus
from control.supervisor.launch import console_script

T = TypeVar("T")
_POLL_S = 0.25


class StoryStopped(ControlError):
    """The story did not go on in time."""


class Observer:
    """Polls the status; every wait has a deadline and says what it waited for."""

    def __init__(self, scene: Scene, cast: Cast) -> None:
        self._scene = scene
        self._cast = cast
        self._admin = AdminClient(Layout(data=scene.path / "data"))

    async def route(self) -> RouteStatus:
        """The demo's route now."""
        status = await asyncio.to_thread(self._admin.get, "/status", Status)
        return next(route for route in status.routes if route.route == ROUTE)

    async def until(
        self, look: Callable[[RouteStatus], T | None], *, seconds: float, what: str
    ) -> T:
        """Poll until ``look`` finds something. Raises `StoryStopped` after ``seconds``."""
        deadline = time.monotonic() + seconds
        while True:
            self._cast.check()
            try:
                found = look(await self.route())
            except ControlUnreachable:
                found = None
            if found is not None:
                return found
            if time.monotonic() > deadline:
                raise StoryStopped(
                    f"{what}: not within {seconds:g} s; see {self._scene.path}/data/logs"
                )
            await asyncio.sleep(_POLL_S)

    async def report(self) -> tuple[str, ReportBody]:
        """Hash and values of the current report."""
        return await asyncio.to_thread(self._admin.report, ROUTE, ReportBody)

    async def page(self) -> bytes:
        """The current report as a page."""
        _, forms = await asyncio.to_thread(self._admin.report_forms, ROUTE, ("html",))
        return forms["html"]

    async def approve(self, report: str) -> Ordered:
        """Consent to one report, named by its hash."""
        return await asyncio.to_thread(
            self._admin.post, f"/routes/{ROUTE}:approve", Ordered, report=report,
            actor="demo", reason="approved automatically: this is a demonstration",
        )  # fmt: skip

    async def command(self, *words: str) -> tuple[int, str, float]:
        """Run `limbeck WORDS` as a person would: exit code, output, seconds."""
        began = time.monotonic()
        done = await asyncio.to_thread(
            subprocess.run,
            [console_script(), *words, *self._scene.place],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.returncode, (done.stdout + done.stderr).strip(), time.monotonic() - began


def newest(route: RouteStatus) -> StudentStatus | None:
    """The newest student, once one is registered."""
    return route.students[0] if route.students else None
