"""Train a student now, from the traces so far, and watch it."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from control.commands.output import add_client, console, plain, print_json
from control.errors import ControlError
from control.place import find_layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from control.admin_client import AdminClient
    from control.status import DistillationAsked, RouteStatus

_POLL_S = 0.5


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("route", metavar="ROUTE")
    parser.add_argument("--trainer", choices=("auto", "classifier", "embedded"))
    parser.add_argument("--no-wait", action="store_true", help="start it and return")
    add_client(parser)


def run(args: argparse.Namespace) -> int:
    from control.admin_client import AdminClient
    from control.status import DistillationAsked

    with AdminClient(find_layout(args)) as client:
        asked = client.post(
            f"/routes/{args.route}:distill", DistillationAsked, trainer=args.trainer
        )
        if args.no_wait:
            if args.json:
                print_json(asked)
            else:
                print(_asked(asked))
            return 0
        last = _quietly(client, asked) if args.json else _watched(client, asked)
    ended = last.distillation
    assert ended is not None, "its end is what was waited for"
    if args.json:
        print_json(ended)
    elif ended.chosen:
        there = any(student.student == ended.chosen for student in last.students)
        joins = "" if there else " joins the shadow shortly"
        follows = "`limbeck status` follows its evidence."
        print(f"{args.route}: student {ended.chosen}{joins}; {follows}")
    else:
        print(f"{args.route}: no student: {plain(ended.reason or 'no reason was given')}")
    return 0 if ended.chosen else 1


def _asked(asked: DistillationAsked) -> str:
    what = "started" if asked.changed else "was running already"
    return f"{asked.route}: distillation {asked.distillation_id} {what}."


def _quietly(client: AdminClient, asked: DistillationAsked) -> RouteStatus:
    for status in _states(client, asked):
        last = status.distillation
        if last and last.distillation_id == asked.distillation_id and last.stage == "ended":
            return status
    raise AssertionError("the states never end by themselves")


def _watched(client: AdminClient, asked: DistillationAsked) -> RouteStatus:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    terminal = console()
    terminal.print(_asked(asked))
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=terminal, transient=True) as progress:
        bars = {"": progress.add_task("requested", total=None)}
        said: set[tuple[float, str]] = set()
        for status in _states(client, asked):
            running = status.distillation
            if running is None or running.distillation_id != asked.distillation_id:
                continue
            for happening in status.happenings:
                told = (happening.ts, happening.message)
                if happening.ts >= running.started and told not in said:
                    said.add(told)
                    progress.print(f"  {plain(happening.message)}", markup=False)
            if running.stage == "ended":
                return status
            progress.update(bars[""], description=running.stage)
            for job in running.jobs:
                if job.job_id not in bars:
                    bars[job.job_id] = progress.add_task(job.trainer, total=1.0)
                description = f"{job.trainer}: {job.status}"
                done = job.progress or 0.0
                progress.update(bars[job.job_id], description=description, completed=done)
    raise AssertionError("the states never end by themselves")


def _states(client: AdminClient, asked: DistillationAsked) -> Iterator[RouteStatus]:
    from control.status import Status

    while True:
        for route in client.get("/status", Status).routes:
            if route.route == asked.route:
                yield route
                break
        else:
            raise ControlError(f"{asked.route}: the route is gone from the configuration")
        time.sleep(_POLL_S)
