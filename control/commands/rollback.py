"""Send all traffic of a route back to the teacher, at once. Works with control dead or frozen.

The command `kill` also ends the route's shadow evaluation, until `unkill`.
"""

from __future__ import annotations

import argparse
import math
import re
import time

from control.commands.output import add_client, add_who, print_json
from control.errors import BadInput, UnknownRoute
from control.layout import Layout
from control.override import Acknowledged, wait_for_acknowledgements, write_override
from control.place import find_layout
from control.snapshot_file import read_newest
from control.started import process_started
from router.snapshot import Override

#: also what keeps a name from leaving the folder of overrides
ROUTE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("route", metavar="ROUTE", help="the name that apps send as model")
    add_who(parser)
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=5.0,
        metavar="S",
        help="wait this long for the gateway workers to acknowledge (default: 5)",
    )
    add_client(parser)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f'"{text}": must be a number of seconds, 0 or more')
    return seconds


def run(args: argparse.Namespace) -> int:
    """Write the override, wait for the workers, say what happened."""
    started = process_started()
    layout = find_layout(args)
    serving = _serving(layout, args.route)
    written, changed = write_override(
        layout.overrides,
        route=args.route,
        action=args.command,
        actor=args.actor,
        reason=args.reason,
        now=time.time(),
    )
    result = wait_for_acknowledgements(
        layout.acknowledgements, written.id, timeout_s=args.timeout, started=started
    )
    if args.json:
        print_json(_record(written, changed, serving, result))
    else:
        print(_sentence(written, changed, serving, result))
    return 0 if result.everywhere else 1


def _serving(layout: Layout, route: str) -> tuple[str, ...]:
    """Students with a weight above 0. Raises `UnknownRoute`, unless no snapshot can be read."""
    snapshot = read_newest(layout)
    if snapshot is None:
        # Nothing to check the name against. On call, a needless override beats a refused one.
        if not ROUTE_NAME.fullmatch(route):
            raise BadInput(f'"{route}" can\'t be the name of a route')
        return ()
    if route not in snapshot.routes:
        routes = ", ".join(sorted(snapshot.routes)) or "none"
        raise UnknownRoute(f'unknown route "{route}"; the routes in force: {routes}')
    return tuple(
        student.student for student in snapshot.routes[route].students if student.weight > 0
    )


def _record(
    written: Override, changed: bool, serving: tuple[str, ...], result: Acknowledged
) -> dict[str, object]:
    return {
        "route": written.route,
        "action": written.action,
        "override": written.id,
        "changed": changed,
        "was_serving": list(serving),
        "workers": list(result.workers),
        "missing": list(result.missing),
        "seconds": round(result.seconds, 4),
    }


def _sentence(
    written: Override, changed: bool, serving: tuple[str, ...], result: Acknowledged
) -> str:
    what = f"{written.route}: {written.action} in force, the teacher answers everything."
    if not changed:
        what = f"{written.route}: {written.action} was in force already, no change."
    elif not serving:
        what = f"{written.route}: {written.action} in force; no student was serving."
    total = len(result.workers) + len(result.missing)
    if total == 0:
        return (
            f"{what}\nNo gateway worker is running; one that starts obeys from its first request."
        )
    lines = [
        what,
        f"{len(result.workers)} of {total} gateway workers acknowledged, "
        f"{result.seconds:.3f} s after the start of this command.",
    ]
    if result.missing:
        lines.append(
            f"Missing: {', '.join(result.missing)}: running, and silent. Stop or kill these "
            "workers; until then they may still send requests to the student."
        )
    return "\n".join(lines)
