"""Show the latest requests: who answered, why, how long it took, what it cost."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from control.commands.output import add_client, at, console, dollars, plain, print_json, print_table
from control.place import find_layout

if TYPE_CHECKING:
    from control.status import TraceStatus


#: heading and least width; the two without share what is left
_COLUMNS = (
    ("time", 8), ("route", 6), ("by", 7), ("why", 7), ("status", 6), ("ms", 5), ("cost", 8),
    ("text", None), ("answer", None),
)  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("route", nargs="?", metavar="ROUTE", help="of this route only")
    parser.add_argument("--limit", type=int, default=20, help="at most that many (default: 20)")
    parser.add_argument("--served-by", choices=("teacher", "student"))
    parser.add_argument("--id", metavar="TRACE", help="this one, with its whole text")
    add_client(parser)


def run(args: argparse.Namespace) -> int:
    from control.admin_client import AdminClient
    from control.commands.status import route_of
    from control.status import Status, TraceStatus

    with AdminClient(find_layout(args)) as client:
        found = client.get(
            "/traces",
            list[TraceStatus],
            route=args.route,
            served_by=args.served_by,
            trace_id=args.id,
            limit=args.limit,
        )
        if not found and args.route is not None:
            # Not asked first: what a removed route has recorded is still there to be read.
            route_of(client.get("/status", Status), args.route)
    if args.json:
        print_json(found)
    elif not found:
        print("No requests yet." if args.id is None else f"{args.id}: no such request.")
    elif args.id is not None:
        _print_whole(found[0])
    else:
        _print_table(found)
    return 0 if found or args.id is None else 2


def _print_table(found: list[TraceStatus]) -> None:
    from rich.table import Table
    from rich.text import Text

    terminal = console()
    limit = 40 if terminal.is_terminal else None
    table = Table(box=None, pad_edge=False, expand=terminal.is_terminal)
    for heading, width in _COLUMNS:
        # A narrow terminal cuts the texts, not the figures.
        table.add_column(
            heading,
            no_wrap=True,
            overflow="ellipsis",
            min_width=width,
            ratio=None if width else 1,
            justify="right" if heading in ("ms", "cost") else "left",
        )
    for trace in found:
        cells = (
            at(trace.ts)[11:],
            trace.route or trace.model,
            trace.student or trace.served_by,
            f"fallback ({trace.fallback})" if trace.fallback else trace.reason,
            str(trace.status or trace.state),
            "" if trace.latency_ms is None else f"{trace.latency_ms:.0f}",
            dollars(trace.cost_usd),
            plain(trace.text or "", limit=limit),
            plain(trace.answer or "", limit=limit),
        )
        table.add_row(*map(Text, cells))
    print_table(terminal, table)


def _print_whole(trace: TraceStatus) -> None:
    import msgspec

    for name, value in msgspec.structs.asdict(trace).items():
        if value is not None:
            shown = at(value) if name == "ts" else plain(str(value))
            print(f"{name:<16} {shown}")
