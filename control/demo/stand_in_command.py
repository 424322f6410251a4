"""Run the demo's stand-in provider: an OpenAI-compatible server with prepared answers."""

from __future__ import annotations

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, required=True, help="the demo's folder")


def run(args: argparse.Namespace) -> int:
    from control.addresses import LOOPBACK, bind_error
    from control.config.values import Address
    from control.demo.scene import read_scene
    from control.demo.stand_in import MODEL, serve
    from control.errors import BadInput

    scene = read_scene(args.folder)
    world = scene.world()
    world.questions(scene.requests)  # a generated ticket's truth is known only once it is made
    refused = bind_error(Address(host=LOOPBACK, port=scene.provider_port))
    if refused:
        raise BadInput(
            f"can't listen on {LOOPBACK}:{scene.provider_port}: {refused}: does the stand-in run"
            " already, perhaps with the demo?"
        )
    print(
        f"the stand-in provider listens at {scene.provider_url}/v1, model {MODEL}; Ctrl-C stops it",
        flush=True,
    )
    serve(world, port=scene.provider_port, latency_s=scene.latency_s)
    return 0
