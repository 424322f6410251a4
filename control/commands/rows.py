"""Render training rows of a program: JSON on stdin, JSON lines on stdout. Started by control."""

from __future__ import annotations

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing: the request comes on stdin."""


def run(args: argparse.Namespace) -> int:
    from programs.rows import main

    return main()
