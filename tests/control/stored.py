"""Rows for tests of control: requests, labels, students, a configuration, in a real store."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import fastuuid
import msgspec

from control.config.load import parse_config
from control.config.values import Config
from control.layout import Layout
from distiller.student import STUDENT_FILE, ServedPredictor, Student, student_folder
from traces.rows import FeedbackRow, TraceRow
from traces.store import Store
from traces.times import from_seconds

ROUTE = "greet"
STUDENT = "s1-aaaa"
#: a fixed past, so that tables of times can be read
T0 = 1_700_000_000.0

_TRACE: dict[str, Any] = {
    "route": ROUTE, "model": ROUTE, "key_name": "app", "program_version": "", "metric_hash": "",
    "config_hash": "", "snapshot_version": 1, "state": "done", "served_by": "teacher",
    "student": None, "stage": None, "weight": 0.0, "reason": "rollout", "propensity": 1.0,
    "audit": False, "audit_propensity": 0.0, "fallback": None, "fallback_student": None,
    "student_ms": None, "upstream": "up", "upstream_model": "m", "status": 200, "finish": "stop",
    "error_code": None, "stream": False, "latency_ms": 100.0, "ttft_ms": None, "tokens_in": 10,
    "tokens_out": 5, "cost_usd": 0.001, "user_hash": None, "conversation_id": None, "bucket": 50,
    "no_shadow": False, "retry": False, "tags": None, "worker": "w1", "response": None,
}  # fmt: skip


def trace_row(ts: float, *, text: str = "hello", **changes: Any) -> TraceRow:
    """One finished request."""
    trace_id = str(fastuuid.uuid7())
    values = _TRACE | {
        "trace_id": trace_id,
        "ts": from_seconds(ts),
        "group_id": trace_id,
        "inputs_hash": trace_id,
        "text": text,
        "answer": text.upper(),
        "request": json.dumps({"model": ROUTE, "messages": [{"role": "user", "content": text}]}),
    }
    return TraceRow(**(values | changes))


def put_trace(store: Store, ts: float, *, text: str = "hello", **changes: Any) -> str:
    """Store one finished request; returns its id."""
    row = trace_row(ts, text=text, **changes)
    store.append("traces", [row])
    return row.trace_id


def put_pair(store: Store, trace_id: str, ts: float, *, outcome: str, kind: str = "shadow") -> None:
    """Store one pair of the student's first candidate, without scores."""
    at = from_seconds(ts)
    row = (
        ROUTE, STUDENT, 1, trace_id, at, kind, None, outcome, "m1", None, None, None, 1.0, 1.0,
        "all", None, at, "a", "a", None, None, 0.0, 1,
    )  # fmt: skip
    store.append("pairs", [row])


def put_gold(
    store: Store,
    trace_id: str,
    gold: object = None,
    *,
    ts: float,
    source: str = "truth",
    confirmed: bool | None = None,
) -> None:
    """What somebody said about a request."""
    row = FeedbackRow(
        feedback_id=str(fastuuid.uuid7()), ts=from_seconds(ts), trace_id=trace_id,
        conversation_id=None, key_name="app", name=None, value=None,
        gold=None if gold is None else json.dumps(gold), confirmed=confirmed, source=source,
        comment=None, tags=None,
    )  # fmt: skip
    store.append("feedback", [row])


def put_sources(store: Store, **coverages: str) -> None:
    for source, coverage in coverages.items():
        store.run("insert_feedback_source", route=ROUTE, source=source, coverage=coverage)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def config_of(
    tmp_path: Path,
    base_url: str = "http://127.0.0.1:9/v1",
    *,
    routes: tuple[str, ...] = (ROUTE,),
    **route: Any,
) -> Config:
    """Plain routes with `exact_match(answer)`, the truth for every request, time scaled."""
    values: dict[str, Any] = {
        "teacher": "up/m",
        "metric": "exact_match(answer)",
        "feedback": {"truth": "all"},
        "shadow": {"sample_rate": 1.0, "reverse_rate": 1.0, "label_deadline_s": 1e9},
        "rollout": {"settle_s": 0, "cool_down_s": 0},
    }
    document = {
        "control": {
            "admin_bind": f"127.0.0.1:{free_port()}",
            "data": "data",
            "tick_s": 0.05,
            "collect_s": 0.05,
        },
        "upstreams": {
            "up": {"base_url": base_url, "prices": {"m": {"input_per_m": 1, "output_per_m": 2}}}
        },
        "routes": dict.fromkeys(routes, values | route),
    }
    return parse_config(
        document, file="limbeck.toml", path=tmp_path / "limbeck.toml", environment={}
    )


def put_student(
    layout: Layout, student: str = STUDENT, *, cutoff: float = 0.0, route: str = ROUTE
) -> Student:
    """A published student; its models are none of control's business."""
    made = Student(
        route=route, student=student, created=cutoff, program_version="", metric_hash="",
        dataset_id="d", dataset_sha256="0" * 64, cutoff=cutoff, trainer="classifier",
        predictors={
            "answer": ServedPredictor(served_model=f"{route}.answer@{student}", adapter="plain")
        },
        artefact_sha256="1" * 64,
    )  # fmt: skip
    folder = student_folder(layout.students, route, student)
    folder.mkdir(parents=True)
    (folder / STUDENT_FILE).write_bytes(msgspec.json.encode(made))
    return made
