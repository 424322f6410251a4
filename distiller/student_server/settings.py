"""What the student server is started with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class StudentServerSettings:
    """Settings of `distiller.student_server.app.serve`."""

    host: str = "127.0.0.1"
    port: int
    #: holds ``ROUTE@ID/``
    students: Path
    #: environment variable that holds the server's key
    api_key_env: str = "LIMBECK_INTERNAL_KEY"
    #: inference threads
    threads: int = 2
    #: requests that may wait for a thread; one more is answered 429
    queue: int = 64
