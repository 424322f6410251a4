"""Watch an expensive teacher being replaced by a student that earned it, and taken back."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from control.demo.narrator import Narrator
    from control.demo.result import DemoResult
    from control.demo.scene import Scene
    from control.demo.story import Story
    from control.demo.traffic import Traffic
    from control.demo.world import World

_DEFAULT_REQUESTS = 8_000


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, help="where to play (default: a fresh limbeck-demo)")
    parser.add_argument(
        "--data", type=Path, metavar="DIR",
        help="real questions with recorded answers (recorded_gpt4.csv and train.csv) instead of "
        "generated tickets",
    )  # fmt: skip
    parser.add_argument("--requests", type=int, default=_DEFAULT_REQUESTS, help="at the most")
    parser.add_argument("--rate", type=float, default=40.0, help="requests per second")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--trainer", choices=("auto", "classifier", "embedded"), default="auto",
        help="auto: what can be trained here, and the exam picks",
    )  # fmt: skip
    parser.add_argument("--latency", type=float, default=0.45, help="of the stand-in, seconds")
    parser.add_argument("--rows", type=int, help="usable rows that start the training")
    parser.add_argument("--port", type=int, default=8000, help="of the gateway, if it is free")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there as JSON")
    parser.add_argument(
        "--keep", action="store_true", help="leave limbeck running at the end, until Ctrl-C"
    )
    parser.add_argument(
        "--serve", action="store_true",
        help="no story: start limbeck and the stand-in again in the folder of an earlier demo",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    import signal

    from control.demo.scene import read_scene
    from control.errors import BadInput

    # As Ctrl-C: limbeck and the stand-in are ended, not left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    if args.serve:
        if args.folder is None:
            raise BadInput("--serve needs --folder, the folder of an earlier demo")
        return _serve(read_scene(args.folder))
    return asyncio.run(_play(_scene(args), args))


def _scene(args: argparse.Namespace) -> Scene:
    from control.demo.scene import Scene, free_port, fresh_folder, write_scene
    from control.errors import BadInput

    if args.requests < 100:
        raise BadInput("--requests must be at least 100")
    if not 0 < args.rate <= 10_000 or not 0 <= args.latency <= 60:
        raise BadInput("--rate must be above 0 and at most 10000, --latency between 0 and 60")
    if args.rows is not None and args.rows < 1:
        raise BadInput("--rows must be at least 1")
    if not 0 < args.port < 65_536:
        raise BadInput("--port must be between 1 and 65535")
    if args.json is not None and not args.json.absolute().parent.is_dir():
        raise BadInput(f"--json {args.json}: its folder does not exist: make it first")
    taken: set[int] = set()
    real = args.data is not None
    # Real data has many classes: more rows before the first student, and fewer requests to spare.
    rows = args.rows or (2_500 if real else 900)
    folder = fresh_folder(args.folder)
    scene = Scene(
        folder=str(folder),
        port=free_port(args.port, taken),
        admin_port=free_port(args.port + 1, taken),
        provider_port=free_port(args.port + 90, taken),
        data=str(args.data.absolute()) if real else None,
        seed=args.seed,
        requests=args.requests,
        rate=args.rate,
        after_rows=rows,
        trainer=args.trainer,
        sample_rate=0.5,
        served=(3, 10, 40, 80),
        dwell_s=2.0,
        live=600,
        latency_s=args.latency,
    )
    scene.world().questions(scene.requests)  # bad data is told before anything starts
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_scene(scene)
    except OSError as error:
        raise BadInput(f"{folder}: can't be written: {error.strerror}") from error
    return scene


async def _play(scene: Scene, args: argparse.Namespace) -> int:
    from control.demo.narrator import Narrator
    from control.demo.observer import Observer
    from control.demo.processes import Cast
    from control.demo.result import print_result
    from control.demo.story import Story
    from control.demo.traffic import Traffic

    world = scene.world()
    with Narrator() as tell:
        _introduce(tell, scene, world)
        with Cast(scene) as cast:
            tell.say(f"limbeck answers at {scene.base_url}: try it from a second terminal:")
            tell.copyable(scene.try_it)
            traffic = Traffic(
                base_url=scene.base_url, api_key="demo", route="tickets", world=world,
                total=scene.requests, rate=scene.rate,
            )  # fmt: skip
            observer = Observer(scene, cast)
            story = Story(scene, world, traffic, observer, tell)
            began = time.monotonic()
            await story.play()
            report = scene.path / "report.html"
            report.write_bytes(await observer.page())
            result = _result(scene, world, story, traffic, report, time.monotonic() - began)
            print_result(tell.console, result, scene)
            if args.json:
                import msgspec

                args.json.write_bytes(msgspec.json.format(msgspec.json.encode(result)))
            for error in traffic.errors:
                tell.say(f"a caller saw: {error}", style="red")
            if args.keep:
                tell.say(f"limbeck stays at {scene.base_url} until Ctrl-C")
                with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
                    await asyncio.Event().wait()
    shown = os.path.relpath(scene.path)
    tell.console.print(f"\n  Start it again: limbeck demo --serve --folder {shown}", markup=False)
    return 1 if result.requests_failed else 0


def _introduce(tell: Narrator, scene: Scene, world: World) -> None:
    from distiller.trainer.available import available_trainers

    tell.heading("limbeck: an expensive model teaches a cheap one")
    tell.say(f"folder {os.path.relpath(scene.path)}; {world.about}")
    tell.say("the provider is a STAND-IN on this machine: no key, no network, no real model")
    students = about_students(scene.trainer, available_trainers())
    if students is not None:
        tell.say(students)


def about_students(trainer: str, available: Collection[str]) -> str | None:
    """What is trained here, where that is not what was asked for by name."""
    if trainer != "classifier" and "embedded" not in available:
        return "the `train` extra is not installed: the classifier plays alone"
    if trainer == "auto":
        return (
            "two kinds of student are trained, a classifier and an embedded model; the exam picks"
        )
    return None


def _serve(scene: Scene) -> int:
    from control.demo.processes import Cast

    with contextlib.suppress(KeyboardInterrupt), Cast(scene) as cast:
        print(f"limbeck answers at {scene.base_url}; Ctrl-C stops it. Try it:", flush=True)
        print(scene.try_it, flush=True)
        while True:
            cast.check()
            time.sleep(0.5)
    return 0


def _result(
    scene: Scene, world: World, story: Story, traffic: Traffic, report: Path, seconds: float
) -> DemoResult:
    from control.demo.result import DemoResult, seen, student_side, teacher_side

    proof = story.proof
    return DemoResult(
        about=world.about,
        ending=story.ending,
        reason=story.reason,
        student=story.student.student if story.student else None,
        trainer=story.student.trainer if story.student else None,
        teacher_side=teacher_side(proof) if proof else None,
        student_side=student_side(proof) if proof else None,
        requests_sent=traffic.sent,
        requests_failed=traffic.failed,
        detection_pairs=story.detection[0] if story.detection else None,
        detection_s=story.detection[1] if story.detection else None,
        rollback_s=story.rollback.seconds if story.rollback else None,
        command_s=story.command_s,
        seen=tuple(seen(part, window) for part, window in traffic.windows.items() if window.sent),
        report=os.path.relpath(report),
        seconds=seconds,
    )
