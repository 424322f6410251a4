from __future__ import annotations

import fcntl
import threading
from pathlib import Path

from gateway.acknowledge import AcknowledgementFile


def test_a_start_waits_for_who_only_looks_whether_the_worker_lives(tmp_path: Path) -> None:
    path = tmp_path / "w1.json"
    path.touch()
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        letting_go = threading.Timer(0.2, fcntl.flock, (file, fcntl.LOCK_UN))
        letting_go.start()
        AcknowledgementFile(tmp_path, "w1").close()
        letting_go.join()
