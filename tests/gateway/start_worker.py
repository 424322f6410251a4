"""Starts a gateway worker with the settings of a JSON file: ``start_worker FILE``."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from gateway.worker import WorkerSettings, serve

if __name__ == "__main__":
    text = Path(sys.argv[1]).read_bytes()
    serve(msgspec.json.decode(text, type=WorkerSettings, dec_hook=lambda kind, text: kind(text)))
    if "--modules" in sys.argv:
        print("\n".join(sorted(sys.modules)))
