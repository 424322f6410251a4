"""A few figures of the student server, for Prometheus."""

from __future__ import annotations

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge

from distiller.student_server.library import Library
from distiller.student_server.pool import Pool


class Metrics:
    """The server's own registry: nothing of the process's libraries is in it."""

    def __init__(self, library: Library, pool: Pool) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "limbeck_student_server_requests",
            "Chat completions by status.",
            ["status"],
            registry=self.registry,
        )
        opened = Gauge(
            "limbeck_student_server_open_requests",
            "Chat completions that wait or run.",
            registry=self.registry,
        )
        opened.set_function(lambda: pool.open)
        loaded = Gauge(
            "limbeck_student_server_loaded_models",
            "Models in memory, by kind.",
            ["kind"],
            registry=self.registry,
        )
        for kind in library.kinds():
            loaded.labels(kind).set_function(partial(_count, library, kind))

    def count(self, status: int) -> None:
        self._requests.labels(str(status)).inc()


def _count(library: Library, kind: str) -> float:
    return library.kinds()[kind]
