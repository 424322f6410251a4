"""A stand-in gateway worker: holds its acknowledgement's lock and obeys overrides. Run as a script.

``python gateway_worker.py DATA NAME``; prints one line when it is ready.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from pathlib import Path

import msgspec

from router.snapshot import Acknowledgement, Override


def main() -> None:
    data, name = Path(sys.argv[1]), sys.argv[2]
    folder = data / "acks"
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / f"{name}.json", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    seen: tuple[str, ...] | None = None
    while True:
        found = tuple(
            msgspec.json.decode(path.read_bytes(), type=Override).id
            for path in sorted((data / "overrides").glob("[!.]*.json"))
        )
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


if __name__ == "__main__":
    main()
