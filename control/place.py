"""Which data folder a command means. Standard library only: `limbeck rollback` starts with it."""

from __future__ import annotations

import argparse
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

from control.errors import BadInput
from control.layout import Layout

CONFIG = Path("limbeck.toml")
DATA = ".limbeck"


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a running limbeck."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the configuration file (default: $LIMBECK_CONFIG, or limbeck.toml)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="the data folder (default: $LIMBECK_DATA, or what the configuration says)",
    )


def config_path(args: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Path:
    """The configuration file that a command means."""
    given: Path | None = args.config
    return given or Path(environment.get("LIMBECK_CONFIG") or CONFIG)


def find_layout(args: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Layout:
    """The data folder of a running, or once running, limbeck. Raises `BadInput` without one.

    The file is not validated: a half-edited ``limbeck.toml`` must not stop a rollback.
    """
    folder = args.data or (
        Path(environment["LIMBECK_DATA"]) if "LIMBECK_DATA" in environment else None
    )
    file = config_path(args, environment)
    if folder is None:
        folder = file.parent / _data_of(file)
    if not folder.is_dir():
        raise BadInput(
            f"{folder}: there is no data folder of limbeck: run this where limbeck.toml lies, or "
            "name it with --data DIR"
        )
    return Layout(data=folder.absolute())


def _data_of(file: Path) -> str:
    try:
        section = tomllib.loads(file.read_text()).get("control")
    except (OSError, ValueError):
        return DATA
    data = section.get("data") if isinstance(section, dict) else None
    return data if isinstance(data, str) else DATA
