from __future__ import annotations

import hashlib

import pytest

from control.addresses import Addresses
from control.compile import DEADLINE_S, RouteState, Share, compile_snapshot
from control.config.values import Address
from router.snapshot import AppKey, Snapshot, StudentRoute, Target, Upstream
from tests.control.configs import PLAIN, PROGRAM, config_of


def at(port: int) -> Address:
    return Address(host="127.0.0.1", port=port)


ADDRESSES = Addresses(
    gateway=at(8000),
    admin=at(8001),
    student_server=at(21_001),
    trainer=at(21_002),
    hosts={"support.teacher": at(21_003), "support.student": at(21_004)},
)
SHARE = Share(student="s7-3fa2", stage="R5", weight=0.05, valid_until=1_060.0)


def compiled(text: str = PLAIN + PROGRAM, **states: RouteState) -> Snapshot:
    return compile_snapshot(
        config_of(text), states, ADDRESSES, keys={}, salt="salt", version=3, epoch=2
    )


def test_a_plain_route() -> None:
    route = compiled(triage=RouteState(shares=(SHARE,))).routes["triage"]
    assert route.teacher == Target(upstream="openai", model="gpt-5")
    assert route.students == (
        StudentRoute(
            student="s7-3fa2",
            target=Target(upstream="students", model="triage.answer@s7-3fa2"),
            stage="R5",
            weight=0.05,
            valid_until=1_060.0,
        ),
    )
    assert (route.salt, route.holdout, route.replayable) == ("salt", 0.02, True)


def test_a_program_route() -> None:
    route = compiled(support=RouteState(shares=(SHARE,))).routes["support"]
    assert route.teacher == Target(upstream="host.support.teacher", model="support@teacher")
    assert route.students[0].target == Target(
        upstream="host.support.student", model="support@s7-3fa2"
    )
    assert route.replayable is False


def test_a_pure_program_may_be_repeated() -> None:
    assert compiled(f"{PLAIN}{PROGRAM}\npure = true").routes["support"].replayable is True


def test_upstreams() -> None:
    def inside(port: int) -> Upstream:
        return Upstream(
            base_url=f"http://127.0.0.1:{port}/v1",
            api_key_env="LIMBECK_INTERNAL_KEY",
            internal=True,
        )

    assert compiled().upstreams == {
        "openai": Upstream(base_url="https://api.openai.com/v1", api_key_env="OPENAI_API_KEY"),
        "students": inside(21_001),
        "host.support.teacher": inside(21_003),
        "host.support.student": inside(21_004),
    }


@pytest.mark.parametrize(
    ("p95_s", "deadline_s", "expected"),
    [(None, 600, DEADLINE_S), (2.0, 600, 3.0), (2.0, 1, 1.0), (None, 5, 5.0)],
)
def test_the_students_deadline(p95_s: float | None, deadline_s: int, expected: float) -> None:
    state = RouteState(teacher_p95_s=p95_s)
    route = compiled(f"{PLAIN}\ndeadline_s = {deadline_s}", triage=state).routes["triage"]
    assert route.student_deadline_s == expected


def test_what_control_knows_is_stamped() -> None:
    state = RouteState(program_version="v1", metric_hash="m1", folded_override="o1")
    route = compiled(triage=state).routes["triage"]
    assert (route.program_version, route.metric_hash) == ("v1", "m1")
    assert route.folded_override == "o1"


def test_keys_are_hashed() -> None:
    config = config_of(
        '[gateway]\nkeys = { app = { key = "env::APP_KEY", may_pin = true } }',
    )
    snapshot = compile_snapshot(
        config, {}, ADDRESSES, keys={"app": "app-secret\n"}, salt="", version=1, epoch=1
    )
    digest = hashlib.sha256(b"app-secret").hexdigest()
    assert snapshot.keys == {digest: AppKey(name="app", may_pin=True)}
    assert snapshot.config_hash == config.hash


def test_the_same_input_gives_the_same_snapshot() -> None:
    assert compiled() == compiled()
