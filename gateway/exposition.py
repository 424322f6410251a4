"""The worker's metrics as Prometheus reads them. A scrape meets one worker of a port."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from gateway.capture import Capture
from gateway.compile import Compiler
from gateway.counters import BOUNDS, Counters
from gateway.follow import Follower
from traces.spool import Recorder

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Exposition(Collector):
    """Reads the worker's plain counters when it is asked."""

    def __init__(
        self,
        *,
        counters: Counters,
        follower: Follower,
        compiler: Compiler,
        recorder: Recorder,
        capture: Capture,
        worker: str,
    ) -> None:
        self._counters = counters
        self._follower = follower
        self._compiler = compiler
        self._recorder = recorder
        self._capture = capture
        self._worker = worker
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """Return all metrics in the text format."""
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._requests()
        yield from self._spool()
        yield from self._state()

    def _requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "limbeck_requests",
            "Chat completions answered",
            labels=("route", "served_by", "reason", "status"),
        )
        for (route, served_by, reason, status), count in self._counters.requests.items():
            requests.add_metric((route, served_by, reason, str(status)), count)
        yield requests
        seconds = HistogramMetricFamily(
            "limbeck_request_seconds", "Time from request to answer", labels=("route",)
        )
        bounds = [*map(str, BOUNDS), "+Inf"]
        for route, buckets in self._counters.buckets.items():
            cumulated = list(zip(bounds, accumulate(buckets), strict=True))
            seconds.add_metric((route,), cumulated, self._counters.seconds[route])
        yield seconds
        fallbacks = CounterMetricFamily(
            "limbeck_fallbacks",
            "Requests that the teacher answered because the student failed",
            labels=("route", "student", "kind"),
        )
        for labels, count in self._counters.fallbacks.items():
            fallbacks.add_metric(labels, count)
        yield fallbacks

    def _spool(self) -> Iterator[Metric]:
        recorder = self._recorder
        frames = CounterMetricFamily(
            "limbeck_spool_frames",
            "Frames by what became of them: accepted = written + dropped",
            labels=("state",),
        )
        frames.add_metric(("accepted",), recorder.accepted)
        frames.add_metric(("written",), recorder.written)
        frames.add_metric(("dropped",), sum(recorder.dropped.values()))
        frames.add_metric(("failed",), self._capture.errors)
        yield frames
        yield GaugeMetricFamily(
            "limbeck_spool_full", "1 while the spool takes no frames", value=recorder.full
        )

    def _state(self) -> Iterator[Metric]:
        version = GaugeMetricFamily(
            "limbeck_snapshot_version", "Version of the snapshot in force", labels=("worker",)
        )
        in_force = self._follower.in_force
        version.add_metric(
            (self._worker,), in_force.snapshot.version if in_force is not None else 0
        )
        yield version
        yield CounterMetricFamily(
            "limbeck_snapshot_errors",
            "Snapshot files that could not be used",
            value=self._follower.errors,
        )
        yield GaugeMetricFamily(
            "limbeck_open_requests", "Requests being answered", value=self._counters.open
        )
        connections = GaugeMetricFamily(
            "limbeck_upstream_connections", "Connections to upstreams", labels=("upstream", "state")
        )
        for client in self._compiler.clients:
            idle = client.idle_connections
            connections.add_metric((client.name, "idle"), idle)
            connections.add_metric((client.name, "busy"), client.open_connections - idle)
        yield connections
