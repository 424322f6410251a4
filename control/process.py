"""The control process: builds the parts, runs the ticks, serves the admin API, ends cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import uvicorn

from control.addresses import bind_error
from control.admin import admin_app
from control.config.values import Address, Config
from control.errors import StartRefused
from control.layout import Layout
from control.lock import FileLock
from control.parts import Parts
from control.secrets import INTERNAL_KEY_ENV, ensure_secrets

_log = logging.getLogger("limbeck.control")
#: ends of a request under way when the process is asked to stop, seconds
_STOP_S = 5
#: ticks and requests of the admin API that may wait at the same time
_THREADS = 32


def serve(config: Config) -> None:
    """Lead the data folder until SIGTERM or SIGINT.

    Raises `Held` or `StartRefused` before anything has begun.
    """
    _log_to_stderr()
    layout = Layout(data=config.control.data)
    layout.data.mkdir(parents=True, exist_ok=True)
    way_out = "stop it first, or start with another [control] data"
    with FileLock(layout.control_lock, who="limbeck control", way_out=way_out):
        asyncio.run(_lead(config, layout))


async def _lead(config: Config, layout: Layout) -> None:
    secrets = ensure_secrets(layout.secrets)
    os.environ[INTERNAL_KEY_ENV] = (
        os.environ.get(INTERNAL_KEY_ENV, "").strip() or secrets.internal_key
    )
    listener = _listen(config.control.admin_bind)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # A rollback must never wait for a thread that a slow tick has.
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="control"))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    parts = await asyncio.to_thread(Parts, config, layout, secrets, dict(os.environ))
    try:
        await asyncio.to_thread(parts.prepare)
        parts.ticks.start()
        server = _Server(
            uvicorn.Config(
                admin_app(parts.operations, key=secrets.admin_key),
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=_STOP_S,
            )
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        _log.info("control leads %s; admin API on %s", layout.data, config.control.admin_bind)
        await stop.wait()
        server.should_exit = True
        await serving
    finally:
        await parts.close()
        listener.close()
    _log.info("control has stopped")


class _Server(uvicorn.Server):
    """Leaves the signals to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(address: Address) -> socket.socket:
    problem = bind_error(address)
    if problem is None:
        try:
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            return socket.create_server((address.host, address.port), family=family)
        except OSError as error:
            problem = str(error.strerror or error)
    raise StartRefused(
        f"control.admin_bind: {address}: {problem}: stop what listens there, or set another "
        "admin_bind in [control]"
    )


def _log_to_stderr() -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # A skipped run of a tick is by design, and requests of ours are no news.
    for name in ("apscheduler", "httpx", "httpx2", "openai"):
        logging.getLogger(name).setLevel(logging.ERROR)
