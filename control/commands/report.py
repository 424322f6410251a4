"""Write a route's promotion report: a page to read, Markdown, and JSON with every number."""

from __future__ import annotations

import argparse
from pathlib import Path

from control.commands.output import add_client, console, plain, print_json
from control.errors import ControlError
from control.files import write_atomically
from control.place import find_layout

_FORMS = ("html", "md", "json")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("route", metavar="ROUTE")
    parser.add_argument("--student", help="of this student (default: the newest)")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write it here (default: in the data folder)"
    )
    add_client(parser)


def run(args: argparse.Namespace) -> int:
    import msgspec

    from control.admin_client import AdminClient
    from control.report.model import ReportBody
    from router.view import short_hash

    layout = find_layout(args)
    with AdminClient(layout) as client:
        report, forms = client.report_forms(args.route, _FORMS, student=args.student)
    body = msgspec.json.decode(forms["json"], type=ReportBody)
    folder: Path = (args.out or layout.reports).absolute()
    files = {form: folder / f"{args.route}-{short_hash(report)}.{form}" for form in _FORMS}
    for form, path in files.items():
        try:
            write_atomically(path, forms[form])
        except OSError as error:
            raise ControlError(f"{path}: can't be written: {error.strerror}") from error
    if args.json:
        paths = {form: str(path) for form, path in files.items()}
        print_json({"report": report, "route": args.route, "student": body.student, "files": paths})
        return 0
    terminal = console()
    who = f"{body.route} {body.student or ''}".strip()
    terminal.print(f"{who}: {plain(body.headline)}", markup=False)
    for figure in (*body.tiles, *body.numbers):
        note = f" ({plain(figure.note)})" if figure.note else ""
        terminal.print(f"  {figure.name}: {plain(figure.value)}{note}", markup=False)
    for caveat in body.caveats:
        terminal.print(f"  note: {plain(caveat)}", markup=False)
    terminal.print(f"report {short_hash(report)}", markup=False)
    for path in files.values():
        terminal.print(f"  {path}", markup=False, soft_wrap=True)
    return 0
