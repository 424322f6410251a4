from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from control.admin_client import AdminClient
from control.errors import BadInput, ControlError, ControlUnreachable, Refused
from control.layout import Layout
from control.override import read_override
from control.report.model import Basis, Named, ReportBody
from control.secrets import load_secrets
from control.status import (
    CollectorStatus,
    DistillationAsked,
    DistillationStatus,
    HappeningStatus,
    Ordered,
    RollbackStatus,
    RouteStatus,
    ShadowStatus,
    Status,
    StudentStatus,
    TickStatus,
    TraceStatus,
    WorkerStatus,
)
from router.events import Hashes
from router.stages import Stage
from tests.control.command_line import LIMBECK, clean_environment, limbeck
from tests.fakes.admin import Answer, FakeAdmin, fake_admin, lead_to

ESCAPE = "\x1b[31m[bold]evil[/bold]"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(data=tmp_path / ".limbeck")
    layout.data.mkdir()
    return layout


@pytest.fixture
def admin(layout: Layout) -> Iterator[FakeAdmin]:
    with fake_admin(layout) as fake:
        yield fake


def a_student() -> StudentStatus:
    return StudentStatus(
        student="s1-00ff", trainer="classifier", k=1, stage=Stage.R5, step=Stage.R5, weight=0.05,
        held_for=(), entered=900.0, why="R5 needs 400 more requests", evidence=None, pairs=(),
        health=None, report=None,
    )  # fmt: skip


def a_route(**changes: object) -> RouteStatus:
    route = RouteStatus(
        route="triage", teacher="openai/gpt-5", program=None, program_version="", metric="m:f",
        metric_hash="", killed=False, traces=12, student_served=3, fallbacks=1, failed=0,
        labelled=10, cost_usd=0.5, cost_unknown=2, teacher_p95_ms=None, scored=9, passing=8,
        not_scored=1, mean_score=0.9, usable_rows=8, after_rows=None, distil_waits=None,
        distillation=None, happenings=(), students=(a_student(),),
        shadow=ShadowStatus(
            paused=None, no_reverse=None, spent_usd=0, spent_unknown=0, daily_budget_usd=5
        ),
        last_rollback=RollbackStatus(
            ts=990.0, event="rollback", student="s0-aaaa", actor="ana", reason=ESCAPE, seconds=0.2,
            missing=("w2",),
        ),
    )  # fmt: skip
    return msgspec.structs.replace(route, **changes)


def a_status(*routes: RouteStatus) -> Status:
    worker = WorkerStatus(worker="w1", epoch=1, version=4, overrides=(), breakers=())
    return Status(
        now=1_000.0, started=400.0, code_version="0.1.0", config_hash="abc", snapshot_epoch=1,
        snapshot_version=4, routes=routes, workers=(worker,), collector=CollectorStatus(traces=12),
        ticks=(TickStatus(name="shadow", runs=3, failures=1, last_error="boom", last_s=0.1),),
        problems=("the disk is nearly full",),
    )  # fmt: skip


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
        conversation_id=None, text=ESCAPE, answer="billing",
    )  # fmt: skip
    admin.answers["GET /traces"] = Answer([trace])
    words = ("traces", "triage", "--limit", "5", "--served-by", "student")
    shown = limbeck(*words, cwd=layout.data.parent, COLUMNS="200")
    assert shown.returncode == 0
    assert "s1-00ff" in shown.stdout
    assert "unknown" in shown.stdout
    assert "\x1b[31m" not in shown.stdout
    assert "[bold]evil[/bold]" in shown.stdout
    assert admin.asked[-1].query == {"route": ["triage"], "served_by": ["student"], "limit": ["5"]}
    whole = limbeck("traces", "--id", "t1", cwd=layout.data.parent)
    assert "answer           billing" in whole.stdout
    admin.answers["GET /traces"] = Answer([])
    assert limbeck("traces", "--id", "t2", cwd=layout.data.parent).returncode == 2


def a_report() -> ReportBody:
    return ReportBody(
        basis=Basis(
            route="triage", student="s1-00ff", k=1, stage="READY", entered=1.0, events=2, pairs=200,
            hashes=Hashes(), gate="promote", guard="clear", evidence="0" * 64, exam=[],
        ),
        limbeck="0.1.0", made="now", route="triage", student="s1-00ff", k=1, stage="READY",
        headline="It may serve.", tone="good", bar="retention 0.95",
        tiles=[Named(name="teacher", value="0.93", note="0.90 to 0.95")],
        numbers=[Named(name="pairs", value="70")], outcomes=[], traffic=[], money=[],
        exam=[], funnel=[], disagreements=[], events=[], caveats=["no reverse shadow"],
        commands=[], lineage=[], history=[], shares=[], log_threshold=None, log_alarm=None,
        retention=0.95, marks=[],
    )  # fmt: skip


def serve_report(admin: FakeAdmin) -> None:
    admin.answers["GET /routes/triage/report"] = Answer(
        a_report(), headers=(("x-limbeck-report", "f" * 64),)
    )


def test_report_writes_three_files(layout: Layout, admin: FakeAdmin, tmp_path: Path) -> None:
    serve_report(admin)
    shown = limbeck("report", "triage", "--out", "out", cwd=tmp_path)
    assert shown.returncode == 0
    assert "It may serve." in shown.stdout
    assert "  teacher: 0.93 (0.90 to 0.95)\n  pairs: 70\n" in shown.stdout
    assert f"report {'f' * 12}\n" in shown.stdout
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == [f"triage-{'f' * 12}.{form}" for form in ("html", "json", "md")]
    as_json = limbeck("report", "triage", "--json", cwd=tmp_path)
    said = json.loads(as_json.stdout)
    assert said["report"] == "f" * 64
    assert Path(said["files"]["html"]).parent == layout.reports


def test_approve_names_the_report(layout: Layout, admin: FakeAdmin) -> None:
    admin.answers["POST /routes/triage:approve"] = Answer(
        Ordered(
            route="triage", order="approve", student="s1-00ff", changed=True, stage=Stage.R1,
            weight=0.01, reason="",
        )
    )  # fmt: skip
    words = ("approve", "triage", "--report", "abc", "--actor", "ana", "--reason", "read it")
    shown = limbeck(*words, cwd=layout.data.parent)
    assert shown.returncode == 0
    assert shown.stdout == "triage s1-00ff: approve done. Now R1 at weight 0.01.\n"
    assert admin.asked[-1].body == {"report": "abc", "actor": "ana", "reason": "read it"}


def test_approve_of_another_report_is_refused(layout: Layout, admin: FakeAdmin) -> None:
    error = {"error": {"message": "report abc is not the current report of triage"}}
    admin.answers["POST /routes/triage:approve"] = Answer(error, status=412)
    shown = limbeck("approve", "triage", "--report", "abc", cwd=layout.data.parent)
    assert shown.returncode == 4
    assert "not the current report" in shown.stderr


def test_approve_without_a_terminal_needs_the_hash(layout: Layout, admin: FakeAdmin) -> None:
    with subprocess.Popen(
        [str(LIMBECK), "approve", "triage"],
        cwd=layout.data.parent,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=clean_environment({}),
    ) as process:
        assert process.stderr is not None
        assert b"--report HASH: needed without a terminal" in process.stderr.read()
    assert process.returncode == 2


@pytest.mark.parametrize(("answer", "approved"), [(b"y\n", True), (b"\n", False)])
def test_approve_at_a_terminal_shows_the_verdict_and_asks(
    layout: Layout, admin: FakeAdmin, answer: bytes, approved: bool
) -> None:
    serve_report(admin)
    admin.answers["POST /routes/triage:approve"] = Answer(
        Ordered(
            route="triage", order="approve", student="s1-00ff", changed=True, stage=Stage.R1,
            weight=0.01, reason="",
        )
    )  # fmt: skip
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    with subprocess.Popen(
        [str(LIMBECK), "approve", "triage"],
        cwd=layout.data.parent,
        stdin=theirs,
        stdout=subprocess.PIPE,
        env=clean_environment({}),
    ) as process:
        assert process.stdout is not None
        shown = process.stdout.read().decode()
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0
    assert "It may serve." in shown
    assert "note: no reverse shadow" in shown
    posted = [asked.body for asked in admin.asked if asked.method == "POST"]
    assert len(posted) == approved
    assert ("Nothing was approved." in shown) is not approved


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
