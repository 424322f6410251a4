"""Starts one of the distiller's processes with settings from the command line's JSON.

`HIDDEN_PACKAGES` names packages that are to look as if they were not installed.
"""

from __future__ import annotations

import importlib.abc
import json
import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any


class _FindAllBut(importlib.abc.MetaPathFinder):
    """Python's own finder, blind for some packages."""

    def __init__(self, hidden: frozenset[str]) -> None:
        self._hidden = hidden

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname.partition(".")[0] in self._hidden:
            return None
        return PathFinder.find_spec(fullname, path, target)

    def find_distributions(self, *context: Any) -> Any:
        return PathFinder.find_distributions(*context)


def main() -> int:
    hidden = frozenset(os.environ.get("HIDDEN_PACKAGES", "").split())
    sys.meta_path[sys.meta_path.index(PathFinder)] = _FindAllBut(hidden)
    command, argument = sys.argv[1:]
    if command == "training-worker":
        from distiller.trainer.worker import main as work

        return work(argument)
    given = json.loads(argument)
    if command == "trainer":
        from distiller.trainer.service import TrainerSettings, serve

        given["folder"] = Path(given["folder"])
        own = (sys.executable, __file__, "training-worker")
        given["worker_command"] = tuple(given.get("worker_command", own))
        serve(TrainerSettings(**given))
    else:
        from distiller.student_server import app

        given["students"] = Path(given["students"])
        app.serve(app.StudentServerSettings(**given))
    return 0


if __name__ == "__main__":
    sys.exit(main())
