"""What the processes of this package are started with. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Side = Literal["teacher", "student"]


@dataclass(frozen=True, kw_only=True)
class LmSettings:
    """The language model that a program's predictors call."""

    #: for example ``https://api.openai.com/v1``
    base_url: str
    #: sent to the upstream unchanged
    model: str
    #: name of the environment variable that holds the key; None: the upstream asks for none
    api_key_env: str | None = None
    #: longest single call, seconds
    timeout_s: float = 600.0


@dataclass(frozen=True, kw_only=True)
class HostSettings:
    """One program host: one side of one route with a program."""

    route: str
    side: Side
    #: ``package.module:factory``
    factory: str
    #: appended to the end of ``sys.path``
    user_dir: Path
    lm: LmSettings
    #: base URL of the student server, ending in ``/v1``; the student side needs it
    student_server: str | None = None
    #: the students' folder; the student side needs it
    students: Path | None = None
    spool: Path
    #: of the spool's folder, all writers together; None: the spool's default
    max_spool_bytes: int | None = None
    #: of the spool's disk, left free; None: the spool's default
    min_free_bytes: int | None = None
    host: str = "127.0.0.1"
    port: int
    #: what to do with system messages: ``reject``, ``ignore`` or ``field:NAME``
    system: str = "reject"
    #: requests that run at the same time; four times as many may wait, the rest gets 429
    concurrency: int = 64


@dataclass(frozen=True, kw_only=True)
class MetricRunnerSettings:
    """One metric runner: one route's metric."""

    route: str
    #: ``package.module:attribute``
    metric: str
    #: appended to the end of ``sys.path``
    user_dir: Path
    #: limit of the process' private memory, MiB (Linux only)
    memory_mb: int = 2048
