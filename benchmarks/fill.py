"""Fill a spool with frames of the size that the gateway benchmark has: fill.py FOLDER FRAMES."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from exchange import REQUEST, RESPONSE
from fastuuid import uuid7

from traces.record import RequestEnd, pack
from traces.spool import SpoolWriter


def main() -> None:
    folder, frames = Path(sys.argv[1]), int(sys.argv[2])
    (folder / "spool").mkdir(parents=True, exist_ok=True)
    writer = SpoolWriter(folder / "spool")
    for _ in range(frames):
        header = RequestEnd(
            trace_id=str(uuid7()), worker="bench", ts_us=time.time_ns() // 1000,
            model="gpt-4o-mini", route="gpt-4o-mini", upstream="provider",
            upstream_model="gpt-4o-mini", status=200, latency_us=1000,
            request_len=len(REQUEST), content_type="application/json",
        )  # fmt: skip
        writer.append(pack(header, REQUEST, RESPONSE))
    writer.close()


if __name__ == "__main__":
    main()
