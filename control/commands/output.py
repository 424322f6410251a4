"""How data commands print: one JSON document, or tables and sentences for people."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from control.override import NOT_PEOPLE
from control.place import add_place

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: columns where the output is no terminal: wide enough for every line
_UNBOUNDED = 10_000


def add_client(parser: argparse.ArgumentParser) -> None:
    """Add what every client of the admin API takes."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_place(parser)


def add_who(parser: argparse.ArgumentParser) -> None:
    """Add who does this, and why."""
    parser.add_argument(
        "--actor", type=_person, default=user_name(), help="who does this (default: you)"
    )
    parser.add_argument("--reason", type=_text, default="", help="kept in the rollout's history")


def _text(typed: str) -> str:
    """Keep of what is no UTF-8 (a script, an old terminal) the rest: no order fails by that."""
    return typed.encode(errors="replace").decode()


def _person(typed: str) -> str:
    name = _text(typed)
    if name in NOT_PEOPLE:
        raise argparse.ArgumentTypeError(f'"{name}" is limbeck itself: give the name of a person')
    return name


def user_name() -> str:
    """The name of the person at the terminal, as far as the system knows it."""
    return os.environ.get("USER") or os.environ.get("LOGNAME") or f"uid-{os.getuid()}"


def print_json(value: object) -> None:
    """One document on standard output."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value)).decode() + "\n")


def console() -> Console:
    """For people. What comes from traces is printed as `Text`, never as markup.

    A file or a pipe has no width: there nothing is wrapped or cut.
    """
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise  # `main` knows what to do; rich's own way out is an exit of the process

    width = None if sys.stdout.isatty() else _UNBOUNDED
    return Plain(highlight=False, soft_wrap=False, width=width)


def print_table(terminal: Console, table: Table) -> None:
    """Print a table, without the blanks that fill its last column up."""
    with terminal.capture() as captured:
        terminal.print(table)
    for line in captured.get().splitlines():
        terminal.file.write(line.rstrip() + "\n")


def at(seconds: float) -> str:
    """A moment, local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def ago(seconds: float) -> str:
    """A duration in its largest unit."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def dollars(value: float | None) -> str:
    """A cost; unknown is unknown, never 0."""
    return "unknown" if value is None else f"${value:,.4f}" if value < 1 else f"${value:,.2f}"


def plain(text: str, *, limit: int | None = None) -> str:
    """Untrusted text on one line, without anything that a terminal would obey."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return line if limit is None or len(line) <= limit else line[: limit - 1] + "…"
