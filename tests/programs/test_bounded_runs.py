"""A real host whose runs outlast their callers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fakes import lm
from tests.fakes.lm import Upstream
from tests.polling import until
from tests.programs.hosts import Host, running_host


@contextmanager
def held_host(tmp_path: Path, program: str) -> Iterator[tuple[Host, Upstream, threading.Event]]:
    """A host with one slot, its model, and the event that lets the model answer."""
    go_on = threading.Event()

    def held(body: dict[str, Any]) -> tuple[int, str]:
        go_on.wait(30)
        return lm.teacher(body)

    with (
        lm.upstream(held) as teacher,
        running_host(tmp_path, program, teacher.base_url, concurrency=1) as host,
    ):
        yield host, teacher, go_on


def test_a_thread_that_outlives_the_deadline_keeps_its_slot(tmp_path: Path) -> None:
    """One slot, four may wait: a caller that has gone frees neither the thread nor its place."""
    soon = {"x-limbeck-deadline-ms": "300"}
    with (
        held_host(tmp_path, "triage:Support") as (host, teacher, go_on),
        ThreadPoolExecutor(5) as pool,
    ):
        body = {"model": host.model, "messages": [{"role": "user", "content": "hi"}]}
        assert host.post(body, soon).status_code == 504
        assert host.post(body, soon).status_code == 504
        assert len(teacher.requests) == 1, "the second request waited in vain for the slot"
        waiting = [pool.submit(host.post, body) for _ in range(5)]
        until(lambda: any(one.done() for one in waiting), what="one of five is refused")
        assert host.client.get("/healthz").status_code == 503
        go_on.set()
        statuses = sorted(one.result().status_code for one in waiting)
        assert statuses == [200, 200, 200, 200, 429]
        assert host.client.get("/healthz").status_code == 200
    said = (tmp_path / "log").read_text()
    assert said.count("all 1 requests that may run at a time") == 1


def test_a_run_that_may_still_call_a_tool_says_so(tmp_path: Path) -> None:
    """A second request waits for the only slot in vain: it runs no tool."""
    soon = {"x-limbeck-deadline-ms": "300"}
    with held_host(tmp_path, "triage:WithTool") as (host, _, go_on):
        body = {"model": host.model, "messages": [{"role": "user", "content": "hi"}]}
        answers = [host.post(body, soon) for _ in range(2)]
        go_on.set()
    assert [answer.status_code for answer in answers] == [504, 504]
    assert [answer.headers["x-limbeck-tools-ran"] for answer in answers] == ["1", "0"]
