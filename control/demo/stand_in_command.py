"""Run the demo's stand-in provider: an OpenAI-compatible server with prepared answers."""

from __future__ import annotations

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, required=True, help="the demo's folder")


def run(args: argparse.Namespace) -> int:
    from control.demo.scene import read_scene
    from control.demo.stand_in import serve

    scene = read_scene(args.folder)
    world = scene.world()
    world.questions(scene.requests)  # a generated ticket's truth is known only once it is made
    serve(world, port=scene.provider_port, latency_s=scene.latency_s)
    return 0
