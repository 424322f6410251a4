"""Run a route's metric: JSON lines on stdin and stdout. Started by control."""

from __future__ import annotations

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("route", metavar="ROUTE")
    parser.add_argument("--metric", required=True, metavar="MODULE:FUNCTION")
    parser.add_argument("--user-dir", type=Path, required=True, metavar="DIR")


def run(args: argparse.Namespace) -> int:
    from programs.metric_runner import serve
    from programs.settings import MetricRunnerSettings

    return serve(MetricRunnerSettings(route=args.route, metric=args.metric, user_dir=args.user_dir))
