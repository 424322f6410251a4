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


async def test_an_upstreams_address_that_nobody_can_call() -> None:
    compiler = Compiler(Wheel(), {})
    for host in ("api..x.com", "a b", "a" * 64):
        bad = snapshot(URL, upstreams={"bad": Upstream(base_url=f"http://{host}/v1")})
        with pytest.raises(SnapshotError, match=f"upstream 'bad': .*{host}"):
            compiler.compile(bad, {})
    await compiler.close()


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("sk-good", None),
        ("sk-good\n", None),
        ("", "is not set"),
        (" \n", "is not set"),
        ("sk-a\nb", "no header can carry"),
        ("sk-\u201cquoted\u201d", "no header can carry"),
    ],
)
async def test_a_key_that_can_not_be_sent_stops_only_its_upstream(
    value: str, problem: str | None
) -> None:
    compiler = Compiler(Wheel(), {"BAD_KEY": value})
    in_force = compiler.compile(
        snapshot(
            URL,
            {"triage": teacher_route(), "other": teacher_route(upstream="bad")},
            upstreams={"bad": Upstream(base_url=URL, api_key_env="BAD_KEY")},
        ),
        {},
    )
    assert in_force.find("triage")[0].teacher.no_key is None
    endpoint = in_force.find("other")[0].teacher
    if problem is None:
        assert endpoint.no_key is None
        assert endpoint.client.head.endswith(b"authorization: Bearer sk-good\r\n")
    else:
        assert endpoint.no_key is not None and "BAD_KEY" in endpoint.no_key
        assert problem in endpoint.no_key
        assert b"sk-" not in endpoint.client.head
        assert "sk-" not in endpoint.no_key
    await compiler.close()
