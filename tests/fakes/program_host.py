"""Starts a program host from a JSON file with its settings: ``python -I program_host.py FILE``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from programs.host import serve
from programs.settings import HostSettings, LmSettings


def main() -> None:
    values = json.loads(Path(sys.argv[1]).read_text())
    for name in ("user_dir", "students", "spool"):
        values[name] = Path(values[name])
    serve(HostSettings(**{**values, "lm": LmSettings(**values["lm"])}))


main()
