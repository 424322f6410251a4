"""Run the fine-tuning service."""

from __future__ import annotations

import argparse

from control.commands.process import add_bind, add_data, address_of, layout_of, share_internal_key


def arguments(parser: argparse.ArgumentParser) -> None:
    add_bind(parser, "127.0.0.1:8003")
    add_data(parser)


def run(args: argparse.Namespace) -> int:
    from control.secrets import INTERNAL_KEY_ENV
    from distiller.trainer.service import TrainerSettings, serve

    address, layout = address_of(args), layout_of(args)
    share_internal_key(layout)
    serve(
        TrainerSettings(
            host=address.host,
            port=address.port,
            folder=layout.trainer,
            api_key_env=INTERNAL_KEY_ENV,
        )
    )
    return 0
