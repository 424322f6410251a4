"""Run the control process: collector, distiller, shadow evaluation, rollouts, admin API."""

from __future__ import annotations

import argparse

from control.place import add_place, config_path


def arguments(parser: argparse.ArgumentParser) -> None:
    add_place(parser)


def run(args: argparse.Namespace) -> int:
    from control.layout import Layout
    from control.process import serve

    layout = Layout(data=args.data.absolute()) if args.data else None
    serve(config_path(args), layout)
    return 0
