"""What the process commands share: their address, their data folder, the internal key."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from control.errors import BadInput
from control.layout import Layout
from control.place import DATA

if TYPE_CHECKING:
    from control.config.values import Address


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add ``--data``."""
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        default=Path(os.environ.get("LIMBECK_DATA", DATA)),
        help=f"the data folder (default: $LIMBECK_DATA, or {DATA})",
    )


def add_bind(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--bind``."""
    parser.add_argument("--bind", default=default, metavar="HOST:PORT", help=f"default: {default}")


def layout_of(args: argparse.Namespace) -> Layout:
    """The data folder, made if it is missing."""
    folder: Path = args.data.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return Layout(data=folder)


def address_of(args: argparse.Namespace) -> Address:
    """What ``--bind`` says; raises `BadInput`."""
    from control.config.values import parse_address

    try:
        return parse_address(args.bind)
    except ValueError as error:
        raise BadInput(f"--bind {args.bind}: {error}") from None


def share_internal_key(layout: Layout) -> None:
    """Take the key between our own processes from the data folder, if the environment has none."""
    from control.secrets import INTERNAL_KEY_ENV, ensure_secrets

    given = os.environ.get(INTERNAL_KEY_ENV, "").strip()
    os.environ[INTERNAL_KEY_ENV] = given or ensure_secrets(layout.secrets).internal_key
