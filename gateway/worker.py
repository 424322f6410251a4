"""A gateway worker: one process, one event loop. Several share a port (SO_REUSEPORT)."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import uvicorn
import uvloop
from fastapi import FastAPI

from gateway.acknowledge import AcknowledgementFile
from gateway.allocator import keep_big_buffers
from gateway.api import Status, build_api
from gateway.breakers import Breakers
from gateway.capture import Capture
from gateway.client_connection import ClientConnection
from gateway.compile import Compiler
from gateway.core import Core
from gateway.counters import Counters
from gateway.descriptors import allow_many_descriptors
from gateway.errors import WorkerStartError
from gateway.exposition import Exposition
from gateway.follow import Follower
from gateway.front import Front
from gateway.in_force import InForce
from gateway.loopback import is_loopback
from gateway.overrides import OverrideFolder
from gateway.wheel import Wheel
from traces.record import Feedback
from traces.spool import Recorder, SpoolWriter

#: above the idle time of common clients and balancers, so that they close first, seconds; the head
#: of a request has as long to arrive
KEEP_ALIVE_S = 75

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSettings:
    """What one worker needs to know at its start."""

    host: str
    port: int
    #: names the acknowledgement and the traces; no two live workers share one
    worker: str
    snapshot: Path
    last_good: Path
    overrides: Path
    acknowledgements: Path
    spool: Path
    #: availability: serve on when the spool is full; audit: refuse what can't be recorded
    spool_policy: Literal["availability", "audit"] = "availability"
    #: of the spool's folder, all writers together; None: the spool's default
    max_spool_bytes: int | None = None
    #: of the spool's disk, left free; None: the spool's default
    min_free_bytes: int | None = None
    #: requests that are still open so long after a stop began are given up, seconds
    drain_s: int = 30


def serve(settings: WorkerSettings) -> None:
    """Serve until SIGTERM or SIGINT, finish what is open, and return.

    Raises `WorkerStartError` if the port or the worker's name is taken.
    """
    listener = _listen(settings.host, settings.port)
    keep_big_buffers()
    allow_many_descriptors()
    # A name that hangs in the look-up holds a thread of libuv, and with 4 of them, its default, a
    # student's name would keep every teacher from being connected to.
    os.environ.setdefault("UV_THREADPOOL_SIZE", "64")
    try:
        worker = Worker(settings)
        uvloop.run(worker.run(listener))
    finally:
        listener.close()


class Worker:
    """Puts the parts together, and owns their tasks."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._started = time.monotonic()
        self._draining = False
        self._breakers = Breakers()
        self._counters = Counters()
        self._wheel = Wheel()
        keys_needed = not is_loopback(settings.host)
        self._compiler = Compiler(self._wheel, os.environ, keys_needed=keys_needed)
        self._acknowledgement = AcknowledgementFile(settings.acknowledgements, settings.worker)
        self._recorder = Recorder(
            lambda: SpoolWriter(
                settings.spool,
                name=settings.worker,
                max_bytes=settings.max_spool_bytes,
                min_free_bytes=settings.min_free_bytes,
            ),
            worker=settings.worker,
        )
        self._capture = Capture(self._recorder, settings.worker)
        self._follower = Follower(
            snapshot=settings.snapshot,
            last_good=settings.last_good,
            overrides=OverrideFolder(settings.overrides),
            acknowledgement=self._acknowledgement,
            compiler=self._compiler,
            breakers=self._breakers,
            worker=settings.worker,
        )
        self._exposition = Exposition(
            counters=self._counters,
            follower=self._follower,
            compiler=self._compiler,
            recorder=self._recorder,
            capture=self._capture,
            worker=settings.worker,
        )
        core = Core(
            in_force=lambda: self._follower.in_force,
            breakers=self._breakers,
            capture=self._capture,
            counters=self._counters,
            wheel=self._wheel,
            may_record=self._recorder.ready if settings.spool_policy == "audit" else None,
        )
        self._front = Front(core, build_api(self, self._lifespan))

    async def run(self, listener: socket.socket) -> None:
        """Serve on a socket until a signal comes."""
        config = uvicorn.Config(
            self._front,
            http=partial(ClientConnection, refused=self._counters.refused),  # type: ignore[arg-type]
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=self._settings.drain_s,
        )
        server = _Server(config)

        def stop() -> None:
            self._draining = True
            server.should_exit = True

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        await server.serve(sockets=[listener])

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        self._follower.start()
        tasks = [asyncio.create_task(self._wheel.run()), asyncio.create_task(self._follower.run())]
        # What is there now stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        logger.info("worker %s serves on port %d", self._settings.worker, self._settings.port)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._compiler.close()
            self._recorder.close()
            self._acknowledgement.close()

    # What the endpoints need

    @property
    def in_force(self) -> InForce | None:
        return self._follower.in_force

    def status(self) -> Status:
        in_force = self.in_force
        snapshot = None if in_force is None else in_force.snapshot
        state = "ready" if in_force is not None else "no_snapshot"
        return Status(
            worker=self._settings.worker,
            state="draining" if self._draining else state,
            uptime_s=round(time.monotonic() - self._started, 1),
            snapshot_version=0 if snapshot is None else snapshot.version,
            snapshot_epoch=0 if snapshot is None else snapshot.epoch,
            config_hash="" if snapshot is None else snapshot.config_hash,
            leased=in_force is not None and in_force.leased,
            routes=() if snapshot is None else tuple(sorted(snapshot.routes)),
            overridden=() if in_force is None else tuple(sorted(in_force.overrides)),
            breakers=tuple(sorted(self._breakers.open_since())),
            open_requests=self._counters.open,
            requests=self._counters.requests.total(),
            fallbacks=self._counters.fallbacks.total(),
            spool="full" if self._recorder.full else "ok",
        )

    def metrics(self) -> bytes:
        return self._exposition.text()

    def record_feedback(self, frame: Feedback, body: bytes) -> bool:
        return self._capture.feedback(frame, body)


class _Server(uvicorn.Server):
    """uvicorn's server, with the signals left to the worker, so that `serve` returns."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "SO_REUSEPORT"):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise WorkerStartError(
            f"can't listen on {host}:{port}: {error.strerror}; choose another [gateway] bind, or"
            " stop what uses the port"
        ) from error
    listener.set_inheritable(False)
    return listener
