"""Order something of a route's rollout. Control decides whether it may be, and records it."""

from __future__ import annotations

import argparse

from control.commands.output import add_client, add_who, print_json
from control.place import find_layout


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("route", metavar="ROUTE")
    parser.add_argument("--student", help="which one (default: the newest that this fits)")
    add_who(parser)
    add_client(parser)


def run(args: argparse.Namespace) -> int:
    from control.admin_client import AdminClient
    from control.status import Ordered

    with AdminClient(find_layout(args)) as client:
        done = client.post(
            f"/routes/{args.route}:{args.command}",
            Ordered,
            actor=args.actor,
            reason=args.reason,
            student=args.student,
        )
    if args.json:
        print_json(done)
    else:
        print(said(done))
    return 0


def said(done: object) -> str:
    """What an order did, in a sentence."""
    from control.status import Ordered

    assert isinstance(done, Ordered)
    who = f"{done.route} {done.student}".strip()
    if not done.changed:
        return f"{who}: {done.order} changed nothing, it was so already."
    where = "" if done.stage is None else f" Now {done.stage.value} at weight {done.weight:g}."
    problem = f" It is in force, and not recorded yet: {done.problem}" if done.problem else ""
    return f"{who}: {done.order} done.{where}{problem}"
