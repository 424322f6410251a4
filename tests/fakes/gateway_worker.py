"""A stand-in gateway worker: holds its acknowledgement's lock and obeys overrides. Run as a script.

``python gateway_worker.py DATA NAME``; prints one line when it is ready.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from pathlib import Path

import msgspec

from router.snapshot import Acknowledgement, Override, Snapshot


def main() -> None:
    data, name = Path(sys.argv[1]), sys.argv[2]
    folder = data / "acks"
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / f"{name}.json", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    seen: tuple[str, ...] | None = None
    while True:
        found = _obeyed(data)
        if found != seen:
            said = Acknowledgement(
                worker=name, pid=os.getpid(), epoch=1, version=1, overrides=found, time=time.time()
            )
            body = msgspec.json.encode(said).ljust(1024)
            os.pwrite(descriptor, body, 0)
            if seen is None:
                print("ready", flush=True)
            seen = found
        time.sleep(0.01)


def _obeyed(data: Path) -> tuple[str, ...]:
    """Files first, then what the snapshot holds: as a real worker does it."""
    found = set()
    for path in (data / "overrides").glob("[!.]*.json"):
        with contextlib.suppress(FileNotFoundError):
            found.add(msgspec.json.decode(path.read_bytes(), type=Override).id)
    with contextlib.suppress(FileNotFoundError):
        snapshot = msgspec.json.decode((data / "snapshot.json").read_bytes(), type=Snapshot)
        found |= {route.folded_override for route in snapshot.routes.values()}
    return tuple(sorted(id for id in found if id is not None))


if __name__ == "__main__":
    main()
