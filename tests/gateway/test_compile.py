from __future__ import annotations

import pytest

from gateway.compile import Compiler
from gateway.errors import SnapshotError
from gateway.wheel import Wheel
from router.snapshot import Upstream
from tests.gateway.rig import snapshot, teacher_route

URL = "http://127.0.0.1:9/v1"


@pytest.mark.parametrize("wrong", ["a route's upstream", "the passthrough"])
async def test_a_refused_snapshot_leaves_nothing_behind(wrong: str) -> None:
    wheel = Wheel()
    compiler = Compiler(wheel, {})
    compiler.compile(snapshot(URL), {})
    before = list(compiler.clients)
    routes = {"triage": teacher_route(upstream="up" if wrong == "the passthrough" else "nobody")}
    bad = snapshot(
        URL,
        routes,
        upstreams={"new": Upstream(base_url=URL)},
        passthrough="nobody" if wrong == "the passthrough" else None,
    )
    with pytest.raises(SnapshotError, match="'nobody' is not defined"):
        compiler.compile(bad, {})
    assert list(compiler.clients) == before
    assert len(wheel) == len(before) == 1
    await compiler.close()
    assert len(wheel) == 0
