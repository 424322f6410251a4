"""Start one gateway worker without control, as the benchmark's harness wants it.

    python benchmarks/gateway_only.py PORT UPSTREAM_URL DATA_FOLDER

One plain route `gpt-4o-mini`, one key `sk-bench`, capture into the spool at the default durability.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

import msgspec

from control.layout import Layout
from router.snapshot import AppKey, Route, Snapshot, Target, Upstream


def main() -> None:
    command = prepare(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).resolve())
    os.execv(command[0], command)


def prepare(port: int, upstream: str, folder: Path) -> list[str]:
    """Write what the worker follows into ``folder``; return the command that starts it."""
    layout = Layout(data=folder)
    for path in (layout.overrides, layout.acknowledgements, layout.spool):
        path.mkdir(parents=True, exist_ok=True)
    snapshot = Snapshot(
        version=1,
        epoch=int(time.time()),
        config_hash="bench",
        keys={hashlib.sha256(b"sk-bench").hexdigest(): AppKey(name="bench")},
        upstreams={"provider": Upstream(base_url=upstream)},
        routes={"gpt-4o-mini": Route(teacher=Target(upstream="provider", model="gpt-4o-mini"))},
    )
    layout.snapshot.write_bytes(msgspec.json.encode(snapshot))
    return [
        str(Path(sys.executable).parent / "limbeck"), "gateway", "--name", "bench",
        "--bind", f"127.0.0.1:{port}", "--data", str(folder),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
