from __future__ import annotations

import socket

import msgspec
import pytest

from control.admin_client import AdminClient
from control.errors import BadInput, ControlError, ControlUnreachable, Refused
from control.layout import Layout
from control.override import read_override
from control.secrets import load_secrets
from control.status import (
    DistillationAsked,
    DistillationStatus,
    HappeningStatus,
    Ordered,
    Status,
    TraceStatus,
)
from tests.control.answers import ESCAPE, a_route, a_status, a_student
from tests.control.command_line import limbeck
from tests.fakes.admin import Answer, FakeAdmin, fake_admin, lead_to

LONG = " and more" * 10


def test_the_key_is_sent_and_errors_have_their_kind(layout: Layout, admin: FakeAdmin) -> None:
    with AdminClient(layout) as client:
        for status, kind in ((400, BadInput), (404, BadInput), (409, Refused), (412, Refused)):
            error = {"error": {"message": f"because {status}"}}
            admin.answers["GET /status"] = Answer(error, status=status)
            with pytest.raises(kind, match=f"because {status}"):
                client.get("/status", Status)
        admin.answers["GET /status"] = Answer(b"oops", status=500)
        with pytest.raises(ControlError, match="control answers 500"):
            client.get("/status", Status)
        admin.answers["GET /status"] = Answer({"now": 1})
        with pytest.raises(ControlError, match="different versions"):
            client.get("/status", Status)
    key = load_secrets(layout.secrets).admin_key
    assert {asked.authorization for asked in admin.asked} == {f"Bearer {key}"}


def test_control_is_not_there(layout: Layout) -> None:
    with fake_admin(layout):
        pass
    with AdminClient(layout) as client, pytest.raises(ControlUnreachable, match="limbeck up"):
        client.get("/status", Status)
    shown = limbeck("status", cwd=layout.data.parent)
    assert shown.returncode == 3
    assert "`limbeck rollback` and `limbeck kill` work without it" in shown.stderr


def test_status_does_not_wait_for_a_frozen_control(layout: Layout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        lead_to(layout, frozen.getsockname()[1])
        # Less than the time that other requests of a client have.
        shown = limbeck("status", cwd=layout.data.parent, timeout_s=25)
    assert shown.returncode == 3
    assert "took the request and is silent for 3 s: is it stopped?" in shown.stderr


def test_a_proxy_of_the_environment_is_not_asked(layout: Layout, admin: FakeAdmin) -> None:
    admin.answers["GET /status"] = Answer(a_status())
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        assert limbeck("status", cwd=layout.data.parent, HTTP_PROXY=proxy).returncode == 0


def test_status(layout: Layout, admin: FakeAdmin) -> None:
    admin.answers["GET /status"] = Answer(a_status(a_route()))
    shown = limbeck("status", cwd=layout.data.parent, COLUMNS="200")
    assert shown.returncode == 0
    for part in (
        "up 10 min, snapshot 1.4",
        "w1 (1.4)",
        "look at: the disk is nearly full",
        "shadow: 1 of 3 runs failed, the last one with: boom",
        "12 requests, 3 by a student, 1 fallback, 0 failed; $0.5000 and 2 of unknown cost",
        "last rollback: 10 s ago by ana ( [31m[bold]evil[/bold]), everywhere in 0.200 s",
        "not acknowledged by w2",
        "R5 needs 400 more requests",
    ):
        assert part in shown.stdout, part
    assert "\x1b[31m" not in shown.stdout


def test_status_says_why_answers_have_no_score(layout: Layout, admin: FakeAdmin) -> None:
    broken = a_route(
        traces=1, labelled=2_200, labelled_student=139, scored=0, passing=0, mean_score=None,
        not_scored=1_600, why_not_scored=f"AttributeError: {ESCAPE}", why_not_scored_n=1_500,
    )  # fmt: skip
    admin.answers["GET /status"] = Answer(a_status(broken))
    shown = limbeck("status", cwd=layout.data.parent, COLUMNS="200")
    assert "  1 request, " in shown.stdout
    assert "2,200 labelled (139 of a student's answers, scored in its pairs), 0 sc" in shown.stdout
    assert "not scored: AttributeError:  [31m[bold]evil[/bold] (1,500 of 1,600)" in shown.stdout
    assert "\x1b[31m" not in shown.stdout
    admin.answers["GET /status"] = Answer(a_status(a_route()))
    shown = limbeck("status", cwd=layout.data.parent, COLUMNS="200")
    assert "10 labelled, 9 scored, " in shown.stdout and "not scored:" not in shown.stdout


def test_lines_into_a_pipe_are_whole(layout: Layout, admin: FakeAdmin) -> None:
    why = "waits for a person's approval of report 0123456789ab; " + "READY expires in 7 d " * 9
    student = msgspec.structs.replace(a_student(), why=f"R5: {why}")
    admin.answers["GET /status"] = Answer(a_status(a_route(students=(student,))))
    lines = limbeck("status", cwd=layout.data.parent, COLUMNS="40").stdout.splitlines()
    assert f"  s1-00ff: {why.strip()}" in lines
    assert [line for line in lines if line != line.rstrip()] == []


def test_status_as_json_is_what_control_says(layout: Layout, admin: FakeAdmin) -> None:
    status = a_status(a_route())
    admin.answers["GET /status"] = Answer(status)
    shown = limbeck("status", "--json", cwd=layout.data.parent)
    assert msgspec.json.decode(shown.stdout, type=Status) == status


def test_status_of_one_route_as_json(layout: Layout, admin: FakeAdmin) -> None:
    one, other = a_route(), a_route(route="other")
    admin.answers["GET /status"] = Answer(a_status(one, other))
    shown = limbeck("status", "other", "--json", cwd=layout.data.parent)
    assert msgspec.json.decode(shown.stdout, type=Status).routes == (other,)
    unknown = limbeck("status", "tirage", "--json", cwd=layout.data.parent)
    assert (unknown.returncode, unknown.stdout) == (2, "")


@pytest.mark.parametrize(
    ("unknown", "cost"),
    [(0, "$0.0000"), (2, "$0.0000 and 2 of unknown cost"), (12, "cost unknown")],
)
def test_an_unknown_cost_is_no_0(layout: Layout, admin: FakeAdmin, unknown: int, cost: str) -> None:
    route = a_route(traces=12, cost_usd=0.0, cost_unknown=unknown)
    admin.answers["GET /status"] = Answer(a_status(route))
    lines = limbeck("status", cwd=layout.data.parent).stdout.splitlines()
    assert any(line.endswith(f" 0 failed; {cost}") for line in lines)


def test_status_of_an_unknown_route(layout: Layout, admin: FakeAdmin) -> None:
    admin.answers["GET /status"] = Answer(a_status(a_route()))
    shown = limbeck("status", "tirage", cwd=layout.data.parent)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert 'unknown route "tirage"; the routes are: triage' in shown.stderr


def test_traces(layout: Layout, admin: FakeAdmin) -> None:
    trace = TraceStatus(
        trace_id="t1", ts=0.0, route="triage", model="triage", state="done", served_by="student",
        student="s1-00ff", stage="R5", reason="rollout", fallback=None, status=200,
        latency_ms=12.3, tokens_in=1, tokens_out=1, cost_usd=None, audit=False,
        conversation_id=None, text=ESCAPE + LONG, answer="billing" + LONG,
    )  # fmt: skip
    admin.answers["GET /traces"] = Answer([trace])
    words = ("traces", "triage", "--limit", "5", "--served-by", "student")
    shown = limbeck(*words, cwd=layout.data.parent, COLUMNS="200")
    assert shown.returncode == 0
    assert "s1-00ff" in shown.stdout
    assert "unknown" in shown.stdout
    assert "\x1b[31m" not in shown.stdout
    assert f"[bold]evil[/bold]{LONG}  " in shown.stdout
    assert f"billing{LONG}\n" in shown.stdout
    assert admin.asked[-1].query == {"route": ["triage"], "served_by": ["student"], "limit": ["5"]}
    whole = limbeck("traces", "--id", "t1", cwd=layout.data.parent)
    assert f"answer           billing{LONG}\n" in whole.stdout
    admin.answers["GET /traces"] = Answer([])
    assert limbeck("traces", "--id", "t2", cwd=layout.data.parent).returncode == 2
    admin.answers["GET /status"] = Answer(a_status(a_route()))
    none = limbeck("traces", "triage", cwd=layout.data.parent)
    assert (none.returncode, none.stdout) == (0, "No requests yet.\n")
    unknown = limbeck("traces", "tirage", cwd=layout.data.parent)
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert 'unknown route "tirage"; the routes are: triage' in unknown.stderr


def test_orders(layout: Layout, admin: FakeAdmin) -> None:
    for order in ("pause", "resume", "retry", "extend", "reject", "unkill"):
        admin.answers[f"POST /routes/triage:{order}"] = Answer(
            Ordered(
                route="triage", order=order, student="s1-00ff", changed=False, stage=None,
                weight=0.0, reason="",
            )
        )  # fmt: skip
        shown = limbeck(order, "triage", "--student", "s1-00ff", cwd=layout.data.parent)
        assert shown.returncode == 0
        assert shown.stdout == f"triage s1-00ff: {order} changed nothing, it was so already.\n"
        body = admin.asked[-1].body
        assert isinstance(body, dict)
        assert body["student"] == "s1-00ff"


@pytest.mark.parametrize("order", ["rollback", "pause", "approve"])
def test_a_reason_that_is_no_utf_8_keeps_nobody_from_an_order(
    layout: Layout, admin: FakeAdmin, order: str
) -> None:
    admin.answers[f"POST /routes/triage:{order}"] = Answer(
        Ordered(
            route="triage", order=order, student="s1-00ff", changed=True, stage=None, weight=0.0,
            reason="",
        )
    )  # fmt: skip
    words = [order, "triage", "--reason", "caf\udce9", "--actor", "jos\udce9"]
    words += ["--report", "abc"] if order == "approve" else []
    assert limbeck(*words, cwd=layout.data.parent).returncode == 0
    if order == "rollback":
        override = read_override(layout.overrides, "triage")
        assert override is not None and (override.actor, override.reason) == ("jos?", "caf?")
    else:
        body = admin.asked[-1].body
        assert isinstance(body, dict) and (body["actor"], body["reason"]) == ("jos?", "caf?")


@pytest.mark.parametrize(
    ("chosen", "code", "line"),
    [
        ("s1-00ff", 0, "triage: student s1-00ff; `limbeck status` follows its evidence."),
        (
            "s2-1234",
            0,
            "triage: student s2-1234 joins the shadow shortly; `limbeck status` follows its "
            "evidence.",
        ),
        (None, 1, "triage: no student: too few rows"),
    ],
)
def test_distill_waits_for_the_end(
    layout: Layout, admin: FakeAdmin, chosen: str | None, code: int, line: str
) -> None:
    admin.answers["POST /routes/triage:distill"] = Answer(
        DistillationAsked(route="triage", distillation_id="d1", changed=True)
    )
    ended = DistillationStatus(
        distillation_id="d1", stage="ended", started=0.0, since=0.0, chosen=chosen,
        reason=None if chosen else "too few rows", jobs=(),
    )  # fmt: skip
    told = HappeningStatus(ts=1.0, event="dataset", message="200 rows", about="d1", progress=None)
    admin.answers["GET /status"] = Answer(a_status(a_route(distillation=ended, happenings=(told,))))
    shown = limbeck("distill", "triage", "--trainer", "classifier", cwd=layout.data.parent)
    assert shown.returncode == code
    assert shown.stdout.splitlines()[-1] == line
    assert "200 rows" in shown.stdout
    posted = next(asked for asked in admin.asked if asked.method == "POST")
    assert posted.body == {"trainer": "classifier"}
    as_json = limbeck("distill", "triage", "--json", cwd=layout.data.parent)
    assert msgspec.json.decode(as_json.stdout, type=DistillationStatus) == ended


def test_distill_without_waiting(layout: Layout, admin: FakeAdmin) -> None:
    admin.answers["POST /routes/triage:distill"] = Answer(
        DistillationAsked(route="triage", distillation_id="d1", changed=False)
    )
    shown = limbeck("distill", "triage", "--no-wait", cwd=layout.data.parent)
    assert shown.stdout == "triage: distillation d1 was running already.\n"
