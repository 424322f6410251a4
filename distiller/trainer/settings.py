"""What the training service is started with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class TrainerSettings:
    """Settings of `distiller.trainer.service.serve`."""

    host: str = "127.0.0.1"
    port: int
    #: holds ``files/`` and ``jobs/``
    folder: Path
    #: environment variable that holds the service's key
    api_key_env: str = "LIMBECK_INTERNAL_KEY"
    #: starts a worker, given the job's folder as its last argument; empty: the console script
    worker_command: tuple[str, ...] = ()
    #: MiB that a worker may allocate; None: no limit
    worker_memory_mb: int | None = 4096
    #: seconds that a job may take, whatever its hyperparameters say
    job_limit_s: float = 7200.0
    #: a worker that does not keep the limit itself is killed so many seconds later
    kill_after_s: float = 120.0
