"""Collect a spool into a new DuckDB file and say what it cost: collect.py DATA_FOLDER."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

from traces.decode import CollectorContext
from traces.store import Store
from traces.store.collector import Collector


def main() -> None:
    spool = Path(sys.argv[1]) / "spool"
    with tempfile.TemporaryDirectory(prefix="limbeck-bench-") as folder:
        store = Store(Path(folder) / "bench.duckdb")
        context = CollectorContext(hmac_key=b"bench", bucket_salt="bench", prices={})
        collector = Collector(store, spool, context)
        before, began = _cpu_s(), time.monotonic()
        rows = 0
        while True:
            step = collector.step()
            rows += step.traces
            if not step.more:
                break
        store.checkpoint()
        cpu_s, wall_s = _cpu_s() - before, time.monotonic() - began
        store.close()
    print(
        f"{rows:,} rows, {cpu_s / max(rows, 1) * 1e6:.0f} us of CPU a row, "
        f"{rows / wall_s:,.0f} rows/s"
    )


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
