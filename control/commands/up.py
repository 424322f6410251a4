"""Start everything that the configuration needs, and keep it running until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from control.commands.process import address_of, config_of
from control.place import DATA, add_place, named_data

if TYPE_CHECKING:
    from control.config.values import Config
    from control.supervisor.child import Event
    from control.supervisor.launch import Launch
    from control.supervisor.supervisor import Supervisor

_READY_S = 120.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--teacher",
        metavar="UPSTREAM/MODEL",
        help="no configuration file: one route, named after the model",
    )
    parser.add_argument(
        "--base-url", metavar="URL", help="with --teacher: where the upstream answers"
    )
    parser.add_argument(
        "--bind",
        metavar="HOST:PORT",
        help="with --teacher: where apps reach it (default: 127.0.0.1:8000); the admin API has the "
        "port after it",
    )
    add_place(parser)


def run(args: argparse.Namespace) -> int:
    from control.supervisor.launch import Launch

    with Launch(_config(args)) as launch:
        return asyncio.run(_supervise(launch))


def _config(args: argparse.Namespace) -> Config:
    from control.config.quick import BIND, teacher_config
    from control.errors import BadInput

    if args.teacher is None:
        for option, given in (("--base-url", args.base_url), ("--bind", args.bind)):
            if given is not None:
                raise BadInput(f"{option}: belongs to --teacher; the file says it otherwise")
        return config_of(args, environment=os.environ)
    return teacher_config(
        args.teacher,
        base_url=args.base_url,
        data=named_data(args) or Path(DATA),
        bind=BIND if args.bind is None else address_of(args),
        environment=os.environ,
    )


async def _supervise(launch: Launch) -> int:
    stop = asyncio.Event()
    again = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: (again if stop.is_set() else stop).set())
    supervisor = launch.supervisor(_print)
    await supervisor.start()
    welcome = asyncio.create_task(_welcome(launch, supervisor))
    await stop.wait()
    welcome.cancel()
    await asyncio.gather(welcome, return_exceptions=True)
    _line("limbeck stops; once more (Ctrl-C) kills")
    await _stop(supervisor, again)
    _line("limbeck has stopped")
    return 0


async def _stop(supervisor: Supervisor, again: asyncio.Event) -> None:
    stopping = asyncio.create_task(supervisor.stop())
    impatient = asyncio.create_task(again.wait())
    await asyncio.wait((stopping, impatient), return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        await supervisor.kill()
    impatient.cancel()
    await asyncio.gather(stopping, impatient, return_exceptions=True)


async def _welcome(launch: Launch, supervisor: Supervisor) -> None:
    from control.supervisor.summary import print_summary

    missing = await supervisor.ready(_READY_S)
    if missing:
        logs = ", ".join(str(launch.layout.logs / f"{name}.log") for name in missing)
        _line(f"not ready after {_READY_S:g} s: {', '.join(missing)}; see {logs}", error=True)
    with contextlib.suppress(OSError):
        print_summary(launch, ready=not missing)


def _print(event: Event) -> None:
    from control.supervisor.child import Happening

    bad = event.happening in (Happening.ENDED, Happening.FAILING, Happening.KILLED)
    _line(f"{event.child} {event.text}", error=bad)


def _line(text: str, *, error: bool = False) -> None:
    stream = sys.stderr if error else sys.stdout
    # Nobody may read any more, or the disk may be full: the processes go on, and are watched.
    with contextlib.suppress(OSError):
        print(f"{time.strftime('%H:%M:%S')} {text}", file=stream, flush=True)
