"""Run one training job: a folder in, a folder out. Started by the trainer."""

from __future__ import annotations

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("jobdir", type=Path, metavar="JOBDIR")


def run(args: argparse.Namespace) -> int:
    from distiller.trainer.worker import main

    return main(args.jobdir)
