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


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add ``--config``."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the configuration file (default: $LIMBECK_CONFIG, or limbeck.toml)",
    )


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a limbeck: its configuration, its data folder."""
    add_config(parser)
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


def named_data(
    args: argparse.Namespace, environment: Mapping[str, str] = os.environ
) -> Path | None:
    """The data folder that is named for a command, absolute; None: the configuration says it."""
    given: Path | None = args.data
    named = environment.get("LIMBECK_DATA")
    folder = given or (Path(named) if named else None)
    return folder and folder.absolute()


def find_layout(args: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Layout:
    """The data folder of a running, or once running, limbeck. Raises `BadInput` without one.

    The file is not validated: a half-edited ``limbeck.toml`` must not stop a rollback.
    """
    folder = named_data(args, environment)
    if folder is None:
        file = config_path(args, environment)
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
