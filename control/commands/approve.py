"""Let a student that passed its gate serve: consent to its report, named by its hash."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from control.commands.order import said
from control.commands.output import add_client, add_who, plain, print_json
from control.errors import BadInput, Refused
from control.place import find_layout

if TYPE_CHECKING:
    from control.admin_client import AdminClient


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("route", metavar="ROUTE")
    parser.add_argument(
        "--report",
        metavar="HASH",
        help="of the report that you read (`limbeck report ROUTE` prints it); asked for without",
    )
    add_who(parser)
    add_client(parser)


def run(args: argparse.Namespace) -> int:
    from control.admin_client import AdminClient
    from control.status import Ordered

    with AdminClient(find_layout(args)) as client:
        report = args.report or _read_and_ask(client, args.route, for_script=args.json)
        if report is None:
            print("Nothing was approved.")
            return 0
        done = client.post(
            f"/routes/{args.route}:approve",
            Ordered,
            report=report,
            actor=args.actor,
            reason=args.reason,
        )
    if args.json:
        print_json(done)
    else:
        print(said(done))
    return 0


def _read_and_ask(client: AdminClient, route: str, *, for_script: bool) -> str | None:
    """Show the current report's verdict; its hash after a yes, None after a no."""
    from control.report.model import ReportBody
    from router.view import short_hash

    if for_script or not sys.stdin.isatty():
        raise BadInput(
            "--report HASH: needed with --json, and without a terminal; `limbeck report ROUTE` "
            "prints the hash"
        )
    report, body = client.report(route, ReportBody)
    if body.student is None:
        raise Refused(f"{route}: {plain(body.headline)}")
    print(f"{route} {body.student}: {plain(body.headline)}")
    print(f"  bar: {plain(body.bar)}")
    for figure in body.tiles:
        note = f" ({plain(figure.note)})" if figure.note else ""
        print(f"  {figure.name}: {plain(figure.value)}{note}")
    for caveat in body.caveats:
        print(f"  note: {plain(caveat)}")
    print(f"  report {short_hash(report)}; all of it: `limbeck report {route}`")
    answer = input(f"Let {body.student} answer requests of {route}? [y/N] ")
    return report if answer.strip().lower() in ("y", "yes") else None
