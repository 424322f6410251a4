"""Run the control process: collector, distiller, shadow evaluation, rollouts, admin API."""

from __future__ import annotations

import argparse
import os

from control.commands.process import add_configured, config_of


def arguments(parser: argparse.ArgumentParser) -> None:
    add_configured(parser)


def run(args: argparse.Namespace) -> int:
    from control.process import serve

    serve(config_of(args, environment=os.environ, user_dir=args.user_dir))
    return 0
