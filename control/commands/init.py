"""Write a commented limbeck.toml to start from. Nothing that exists is overwritten."""

from __future__ import annotations

import argparse
from importlib.resources import files
from pathlib import Path

from control.errors import Refused

_TEMPLATE = files("control.commands") / "template"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path(), metavar="DIR", help="default: here"
    )
    parser.add_argument(
        "--program", action="store_true", help="with an example of a DSPy program, in app/"
    )


def run(args: argparse.Namespace) -> int:
    new = {Path("limbeck.toml"): _read("limbeck.toml")}
    if args.program:
        new[Path("limbeck.toml")] += _read("program.toml")
        new[Path("app/__init__.py")] = ""
        new[Path("app/program.py")] = _read("program.py.txt")
    there = [args.folder / path for path in new if (args.folder / path).exists()]
    if there:
        raise Refused(
            "\n".join(f"{path}: exists, nothing was written: move it away first" for path in there)
        )
    for path, text in new.items():
        target = args.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x") as file:
            file.write(text)
        print(f"wrote {target}")
    print("Next: set OPENAI_API_KEY, adapt the file, `limbeck config check`, `limbeck up`.")
    return 0


def _read(name: str) -> str:
    return (_TEMPLATE / name).read_text()
