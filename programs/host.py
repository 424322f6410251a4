"""The program host: a process that serves one side of one route's program."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from programs import dspy_compat
from programs.child import INTERNAL_KEY_ENV, die_with_parent
from programs.errors import LoadError, ProgramError
from programs.host_app import HostApp
from programs.inputs import check_system
from programs.served import ServedPrograms, StudentSide, TeacherSide
from programs.settings import HostSettings, LmSettings
from programs.user_code import open_user_folder
from traces.spool import Recorder, SpoolWriter

__all__ = ["HostSettings", "load", "serve"]

_DRAIN_S = 30


def serve(settings: HostSettings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what runs and return.

    Raises `ProgramError` where the program cannot be loaded or the port is taken.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    key = os.environ.get(INTERNAL_KEY_ENV)
    if not key:
        raise LoadError(
            f"{INTERNAL_KEY_ENV} is not set: start the host with `limbeck up`, or set it"
        )
    listener = _listen(settings.host, settings.port)
    with listener:
        open_user_folder(settings.user_dir)
        programs: ServedPrograms = (
            TeacherSide(settings) if settings.side == "teacher" else StudentSide(settings, key=key)
        )
        check_system(settings.system, programs.main().description.input_fields)
        dspy_compat.prepare(workers=settings.concurrency)
        recorder = _recorder(settings)
        app = HostApp(settings, programs, recorder, key=key).asgi()
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=_DRAIN_S
        )
        server = uvicorn.Server(config)
        # uvicorn raises the signal again after it has drained; this handler lets `serve` return.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(server, "should_exit", True))
        server.run(sockets=[listener])


def load(factory: str, *, lm: LmSettings, user_dir: Path, system: str) -> None:
    """Load a program as its teacher side does. Raises `ProgramError` where that can't be done."""
    die_with_parent()
    open_user_folder(user_dir)
    program = dspy_compat.load_teacher(factory, dspy_compat.teacher_lm(lm), user_dir)
    check_system(system, program.description.input_fields)


def _listen(host: str, port: int) -> socket.socket:
    """Bind before the program loads: a taken port is said at once."""
    try:
        return socket.create_server((host, port), backlog=2048)
    except OSError as error:
        raise ProgramError(
            f"the program host cannot listen on {host}:{port}: {error.strerror}. End the process "
            f"that has the port, or start limbeck again to get another one"
        ) from error


def _recorder(settings: HostSettings) -> Recorder:
    def writer() -> SpoolWriter:
        return SpoolWriter(
            settings.spool,
            max_bytes=settings.max_spool_bytes,
            min_free_bytes=settings.min_free_bytes,
        )

    name = re.sub(r"[^A-Za-z0-9]+", "-", f"{settings.route}-{settings.side}").lower()
    return Recorder(writer, worker=f"host-{name}")
