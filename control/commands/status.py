"""Show what runs, who serves on each route, and why nothing moves where nothing moves."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from control.commands.output import (
    add_client,
    ago,
    console,
    dollars,
    plain,
    print_json,
    print_table,
)
from control.counting import plural
from control.errors import UnknownRoute
from control.place import find_layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from control.status import RouteStatus, Status, StudentStatus

#: what control has at hand; who waits longer than that wants to know that control is frozen
_ANSWER_S = 3.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("route", nargs="?", metavar="ROUTE", help="this route only")
    add_client(parser)


def run(args: argparse.Namespace) -> int:
    import msgspec

    from control.admin_client import AdminClient
    from control.status import Status

    with AdminClient(find_layout(args), answer_s=_ANSWER_S) as client:
        status = client.get("/status", Status)
    if args.route is not None:
        status = msgspec.structs.replace(status, routes=(route_of(status, args.route),))
    if args.json:
        print_json(status)
        return 0
    terminal = console()
    for line in _summary(status):
        terminal.print(line, markup=False)
    for route in status.routes:
        terminal.print()
        terminal.print(_heading(route), style="bold", markup=False)
        for line in _lines(route, status.now):
            terminal.print(f"  {line}", markup=False)
        if route.students:
            print_table(terminal, _students(route, status.now))
            for student in route.students:
                why = plain(_why(student))
                terminal.print(f"  {student.student}: {why}", markup=False, soft_wrap=True)
    return 0


def route_of(status: Status, name: str) -> RouteStatus:
    """The status of one route. Raises `UnknownRoute`."""
    for route in status.routes:
        if route.route == name:
            return route
    known = ", ".join(route.route for route in status.routes) or "none"
    raise UnknownRoute(f'unknown route "{name}"; the routes are: {known}')


def _summary(status: Status) -> Iterator[str]:
    yield (
        f"limbeck {status.code_version}, up {ago(status.now - status.started)}, "
        f"snapshot {status.snapshot_epoch}.{status.snapshot_version}, config {status.config_hash}"
    )
    workers = ", ".join(
        f"{worker.worker} ({worker.epoch}.{worker.version})" for worker in status.workers
    )
    yield f"gateway workers: {workers or 'none is running'}"
    yield (
        f"collector: {plural(status.collector.traces, 'request')} stored, "
        f"{status.collector.spool_bytes / 2**20:,.1f} MiB wait in the spool"
    )
    if status.collector.dead_letters:
        yield f"collector: {status.collector.dead_letters} frames could not be read"
    for problem in status.problems:
        yield f"look at: {plain(problem)}"
    for tick in status.ticks:
        if tick.last_error is not None:
            yield (
                f"{tick.name}: {tick.failures} of {tick.runs} runs failed, the last one with: "
                f"{plain(tick.last_error)}"
            )


def _heading(route: RouteStatus) -> str:
    by = f"{route.program} on {route.teacher}" if route.program else route.teacher
    return f"{route.route}: {by}" + ("  KILLED" if route.killed else "")


def _lines(route: RouteStatus, now: float) -> Iterator[str]:
    yield (
        f"{plural(route.traces, 'request')}, {route.student_served:,} by a student, "
        f"{plural(route.fallbacks, 'fallback')}, {route.failed:,} failed; "
        f"{_cost(route)}"
    )
    if route.metric is None:
        yield "no metric: nothing is scored, so nothing is promoted"
    else:
        yield _scores(route)
        if route.why_not_scored is not None:
            yield (
                f"not scored: {plain(route.why_not_scored, limit=200)} "
                f"({route.why_not_scored_n:,} of {route.not_scored:,})"
            )
    if route.distillation is not None and route.distillation.stage != "ended":
        jobs = ", ".join(
            f"{job.trainer} {job.status}" + ("" if job.progress is None else f" {job.progress:.0%}")
            for job in route.distillation.jobs
        )
        yield f"distilling: {route.distillation.stage}" + (f" ({jobs})" if jobs else "")
    elif route.distil_waits:
        yield f"distilling waits: {plain(route.distil_waits)}"
    if route.shadow.paused:
        yield f"shadow paused: {plain(route.shadow.paused)}"
    if route.last_rollback is not None:
        last = route.last_rollback
        took = "" if last.seconds is None else f", everywhere in {last.seconds:.3f} s"
        yield (
            f"last {last.event}: {ago(now - last.ts)} ago by {plain(last.actor)} "
            f"({plain(last.reason) or 'no reason given'}){took}"
        )
        if last.missing:
            yield f"  not acknowledged by {', '.join(last.missing)}"


def _cost(route: RouteStatus) -> str:
    if not route.cost_unknown:
        return dollars(route.cost_usd)
    if route.cost_unknown == route.traces:
        return "cost unknown"  # the sum of no costs is no $0
    return f"{dollars(route.cost_usd)} and {route.cost_unknown:,} of unknown cost"


def _scores(route: RouteStatus) -> str:
    # Of the labelled ones, a student's answers are in no other figure of the line.
    by_student = ""
    if route.labelled_student:
        by_student = f" ({route.labelled_student:,} of a student's answers, scored in its pairs)"
    mean = "" if route.mean_score is None else f", mean {route.mean_score:.3f}"
    return (
        f"{route.labelled:,} labelled{by_student}, {route.scored:,} scored{mean}, "
        f"{route.passing:,} passing, {route.not_scored:,} not scored; "
        f"{plural(route.usable_rows, 'training row')}"
    )


def _students(route: RouteStatus, now: float) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("student", "k", "stage", "weight", "pairs", "since", box=None)
    for student in route.students:
        cells = (
            student.student,
            str(student.k),
            _stage(student),
            f"{student.weight:g}",
            str(sum(count.n for count in student.pairs)),
            ago(now - student.entered),
        )
        table.add_row(*map(Text, cells))
    return table


def _why(student: StudentStatus) -> str:
    """Why it is where it is; the table has said where."""
    for stage in (student.stage, student.step):
        if student.why.startswith(f"{stage.value}: "):
            return student.why.removeprefix(f"{stage.value}: ")
    return student.why


def _stage(student: StudentStatus) -> str:
    if student.step == student.stage:
        return student.stage.value
    return f"{student.stage.value} ({student.step.value})"
