"""Run one gateway worker. It follows the snapshot in the data folder, and reads no other file."""

from __future__ import annotations

import argparse
import os
import re

from control.commands.process import add_bind, add_data, address_of, layout_of, share_internal_key

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


def arguments(parser: argparse.ArgumentParser) -> None:
    add_bind(parser, "127.0.0.1:8000")
    add_data(parser)
    parser.add_argument(
        "--name",
        type=_name,
        default=f"w{os.getpid()}",
        help="of this worker; no two may have the same",
    )
    parser.add_argument(
        "--spool-policy",
        choices=("availability", "audit"),
        default="availability",
        help="on a full spool: answer and count what is lost, or refuse (default: availability)",
    )
    parser.add_argument("--max-spool-mb", type=int, default=4096, metavar="MB")
    parser.add_argument(
        "--min-free-mb",
        type=int,
        metavar="MB",
        help="of the disk, left free (default: 2 GB, or a twentieth of a small disk)",
    )


def _name(name: str) -> str:
    # Files are named after it.
    if not _NAME.fullmatch(name):
        raise argparse.ArgumentTypeError(
            f'"{name}": must be letters, digits, "-", "_" and ".", and not begin with a "."'
        )
    return name


def run(args: argparse.Namespace) -> int:
    from gateway.worker import WorkerSettings, serve

    address, layout = address_of(args), layout_of(args)
    share_internal_key(layout)
    serve(
        WorkerSettings(
            host=address.host,
            port=address.port,
            worker=args.name,
            snapshot=layout.snapshot,
            last_good=layout.last_good_snapshot,
            overrides=layout.overrides,
            acknowledgements=layout.acknowledgements,
            spool=layout.spool,
            spool_policy=args.spool_policy,
            max_spool_bytes=args.max_spool_mb << 20,
            min_free_bytes=None if args.min_free_mb is None else args.min_free_mb << 20,
        )
    )
    return 0
