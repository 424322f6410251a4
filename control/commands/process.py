"""What the process commands share: address, data folder, configuration, the internal key."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from control.errors import BadInput
from control.layout import Layout
from control.place import DATA, add_place, config_path, named_data

if TYPE_CHECKING:
    from control.config.values import Address, Config


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add ``--data``."""
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help=f"the data folder (default: $LIMBECK_DATA, or {DATA})",
    )


def add_bind(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--bind``."""
    parser.add_argument("--bind", default=default, metavar="HOST:PORT", help=f"default: {default}")


def layout_of(args: argparse.Namespace) -> Layout:
    """The data folder, made if it is missing."""
    folder = named_data(args) or Path(DATA).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return Layout(data=folder)


def add_configured(parser: argparse.ArgumentParser) -> None:
    """Add what names a configuration, and where its code and its data are."""
    add_place(parser)
    parser.add_argument(
        "--user-dir",
        type=Path,
        metavar="DIR",
        help="programs and metrics are imported from here (default: where the configuration lies)",
    )


def config_of(
    args: argparse.Namespace, *, environment: Mapping[str, str] | None, user_dir: Path | None = None
) -> Config:
    """The configuration, with the folders that are named for the command instead of its own."""
    from msgspec.structs import replace

    from control.config.load import load_config

    config = load_config(config_path(args), environment=environment)
    return replace(
        config,
        folder=user_dir.absolute() if user_dir else config.folder,
        control=replace(config.control, data=named_data(args) or config.control.data),
    )


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
