"""Real program hosts, teacher's side: answers, statuses, and the predictor calls in the spool."""

from __future__ import annotations

import json
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from programs.description import ProgramDescription
from tests.fakes import lm
from tests.fakes.lm import Upstream
from tests.polling import until
from tests.programs.hosts import APP, Host, content, free_port, running_host, start

Hosts = Callable[[str], Host]


@pytest.fixture(scope="module")
def teacher() -> Iterator[Upstream]:
    with lm.upstream(lm.teacher) as running:
        yield running


@pytest.fixture(scope="module")
def hosts(teacher: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Hosts by factory, each started once for the module."""
    started: dict[str, Host] = {}
    with ExitStack() as stack:

        def get(factory: str) -> Host:
            if factory not in started:
                folder = tmp_path_factory.mktemp(factory.rpartition(":")[2])
                started[factory] = stack.enter_context(
                    running_host(folder, factory, teacher.base_url)
                )
            return started[factory]

        yield get


def new_trace() -> str:
    return str(uuid.uuid4())


def test_several_outputs_are_json_and_the_reasoning_is_beside_the_content(hosts: Hosts) -> None:
    host = hosts("triage:classify")
    response = host.ask("my card is lost")
    assert json.loads(content(response)) == {
        "category": "category of <my card is lost>",
        "confidence": 0.75,
    }
    answer = response.json()
    assert answer["choices"][0]["message"]["reasoning_content"] == "reasoning about my card is lost"
    assert answer["model"] == "triage@teacher"
    assert answer["usage"] == {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}


def test_the_model_name_reaches_the_upstream_unchanged(hosts: Hosts, teacher: Upstream) -> None:
    content(hosts("triage:classify").ask("hello"))
    assert teacher.requests[-1]["model"] == "frontier/model-1"


def test_one_text_output_is_plain_text_unless_json_is_wanted(hosts: Hosts) -> None:
    host = hosts("triage:reply")
    assert content(host.ask("hi")) == "answer of <hi>"
    wanted = {"type": "json_object"}
    assert json.loads(content(host.ask("hi", response_format=wanted))) == {
        "answer": "answer of <hi>"
    }


def test_a_stream_carries_the_whole_answer_and_the_usage(hosts: Hosts) -> None:
    response = hosts("triage:reply").ask("hi", stream=True, stream_options={"include_usage": True})
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    assert response.headers["content-type"].startswith("text/event-stream")
    assert lines.pop() == "[DONE]"
    chunks = [json.loads(line) for line in lines]
    assert chunks[0]["choices"][0]["delta"]["content"] == "answer of <hi>"
    assert chunks[1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[2]["usage"]["total_tokens"] == 110


def test_each_predictor_call_is_recorded_by_name(hosts: Hosts) -> None:
    host = hosts("triage:Support")
    trace = new_trace()
    content(host.ask("twice please", trace=trace))
    calls = host.calls(trace)
    assert [call.predictor for call in calls] == ["classify.predict", "write", "write"]
    assert [call.seq for call in calls] == [0, 1, 2]
    first, second, third = calls
    assert first.inputs == {"text": "twice please"}
    assert first.outputs == {
        "reasoning": "reasoning about twice please",
        "category": "category of <twice please>",
        "confidence": 0.75,
    }
    assert first.completion is not None
    assert first.completion.startswith("[[ ## reasoning ## ]]")
    assert [message["role"] for message in first.messages] == ["system", "user"]
    assert (first.model, first.side, first.route) == ("frontier/model-1", "teacher", "triage")
    assert (first.tokens_in, first.tokens_out, first.error) == (100, 10, None)
    assert first.latency_us > 0
    assert second.inputs["category"] == "category of <twice please>"
    assert third.inputs["category"] == "again"
    description = host.client.get("/v1/program").json()
    assert first.program_version == description["program_version"]


def test_usage_is_the_sum_over_all_calls(hosts: Hosts) -> None:
    assert hosts("triage:Support").ask("twice").json()["usage"]["total_tokens"] == 330


def test_a_request_without_an_inference_id_is_not_recorded(hosts: Hosts) -> None:
    host = hosts("triage:reply")
    before = sum(path.stat().st_mtime_ns for path in host.spool.iterdir())
    content(host.ask("shadow"))
    assert sum(path.stat().st_mtime_ns for path in host.spool.iterdir()) == before


@pytest.mark.parametrize("factory", ["triage:Support", "triage:AsyncSupport"])
def test_concurrent_requests_get_and_record_only_their_own(hosts: Hosts, factory: str) -> None:
    host = hosts(factory)
    questions = {new_trace(): f"question {n}" + " twice" * (n % 2) for n in range(40)}
    with ThreadPoolExecutor(40) as pool:
        asked = {
            trace: pool.submit(host.ask, text, trace=trace) for trace, text in questions.items()
        }
    for trace, text in questions.items():
        assert json.loads(content(asked[trace].result()))["category"] == f"category of <{text}>"
        calls = host.calls(trace)
        expected = 1 if factory.endswith("AsyncSupport") else 3 if "twice" in text else 2
        assert len(calls) == expected
        assert {call.inputs["text"] for call in calls} == {text}
        assert all(text in str(call.messages) for call in calls)


def test_earlier_turns_become_the_history(hosts: Hosts, teacher: Upstream) -> None:
    host = hosts("triage:Chat")
    turns = [("user", "one"), ("assistant", "two"), ("user", "three")]
    messages = [{"role": role, "content": text} for role, text in turns]
    assert content(host.post({"model": host.model, "messages": messages})) == "answer of <three>"
    sent = teacher.requests[-1]["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "user"]
    assert "two" in sent[2]["content"]


def test_typed_inputs_come_as_json_and_a_bool_goes_out_as_json(hosts: Hosts) -> None:
    host = hosts("triage:typed")
    inputs = {"text": "help!", "customer": "Ada"}
    assert json.loads(content(host.ask(json.dumps(inputs)))) == {"urgent": True, "priority": "high"}
    explicit = host.post({"model": host.model, "messages": [], "inputs": inputs})
    assert json.loads(content(explicit)) == {"urgent": True, "priority": "high"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"messages": [{"role": "user", "content": "hi"}]}, ["`text`", "`customer`"]),
        ({"inputs": {"text": "a"}}, ["missing inputs `customer`"]),
        ({"inputs": {"text": "a", "customer": "b", "x": 1}}, ["unknown inputs `x`"]),
        ({"inputs": {"text": 7, "customer": "b"}}, ["input `text` must be str"]),
        ({"messages": [{"role": "system", "content": "be"}]}, ["last message"]),
        ({"messages": []}, ["messages"]),
        ({}, ["messages"]),
    ],
)
def test_bad_inputs_are_named(hosts: Hosts, body: dict[str, Any], words: list[str]) -> None:
    host = hosts("triage:typed")
    response = host.post({"model": host.model, **body})
    assert response.status_code == 400
    assert response.headers["x-limbeck-error"] == "bad_inputs"
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "bad_inputs")
    assert all(word in error["message"] for word in words), error["message"]


@pytest.mark.parametrize("raw", [b"not json", b"[]", b'{"messages": []}', b"[" * 100_000])
def test_a_body_that_is_no_request_is_400(hosts: Hosts, raw: bytes) -> None:
    response = hosts("triage:typed").client.post("/v1/chat/completions", content=raw)
    assert (response.status_code, response.headers["x-limbeck-error"]) == (400, "bad_inputs")


def test_an_answer_that_cannot_be_read_is_502_and_recorded(hosts: Hosts) -> None:
    host = hosts("triage:classify")
    trace = new_trace()
    response = host.ask("nonsense", trace=trace)
    assert response.status_code == 502
    assert response.headers["x-limbeck-error"] == "unusable"
    assert response.json()["error"]["request_id"] == trace
    (call,) = host.calls(trace)
    assert call.outputs is None
    assert "AdapterParseError" in (call.error or "")
    # dspy asks once more with its JSON adapter: both calls cost tokens
    assert call.tokens_in == 200


def test_an_empty_answer_is_502(hosts: Hosts) -> None:
    response = hosts("triage:Empty").ask("hi")
    assert (response.status_code, response.headers["x-limbeck-error"]) == (502, "unusable")


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        (429, 429, "busy"),
        (401, 503, "unavailable"),
        (500, 503, "unavailable"),
        (503, 503, "unavailable"),
        (422, 500, "error"),
    ],
)
def test_faults_of_the_teachers_upstream(hosts: Hosts, fault: int, status: int, kind: str) -> None:
    host = hosts("triage:AsyncSupport")
    log = host.spool.parent / "log"
    before = log.stat().st_size
    response = host.ask(f"fault {fault}")
    assert (response.status_code, response.headers["x-limbeck-error"]) == (status, kind)
    if kind == "unavailable":
        said = log.read_text()[before:]
        assert "the program's model can't be used now" in said
        assert "Traceback" not in said


def test_a_program_that_raises_is_500_and_says_whether_a_tool_ran(hosts: Hosts) -> None:
    host = hosts("triage:WithTool")
    trace = new_trace()
    response = host.ask("explode", trace=trace)
    assert (response.status_code, response.headers["x-limbeck-error"]) == (500, "error")
    assert response.headers["x-limbeck-tools-ran"] == "1"
    assert "ValueError: the program exploded" in response.json()["error"]["message"]
    (call,) = host.calls(trace)
    assert call.tools_ran
    assert call.error is None
    assert hosts("triage:classify").ask("nonsense").headers["x-limbeck-tools-ran"] == "0"


@pytest.mark.parametrize("factory", ["triage:Exits", "triage:AsyncExits"])
def test_a_program_that_exits_is_500_and_its_host_serves_on(hosts: Hosts, factory: str) -> None:
    host = hosts(factory)
    response = host.ask("exit")
    assert (response.status_code, response.headers["x-limbeck-error"]) == (500, "error")
    assert "exit(3) was called" in response.json()["error"]["message"]
    assert content(host.ask("hi")) == "fine"


def test_an_answer_that_is_nested_too_deeply_is_502(hosts: Hosts) -> None:
    response = hosts("triage:Deep").ask("hi")
    assert (response.status_code, response.headers["x-limbeck-error"]) == (502, "unusable")


def test_a_program_that_returns_no_prediction_is_500(hosts: Hosts) -> None:
    response = hosts("triage:NoPrediction").ask("hi")
    assert response.status_code == 500
    assert "returned str" in response.json()["error"]["message"]


def test_the_deadline_ends_a_request(hosts: Hosts) -> None:
    host = hosts("triage:AsyncSupport")
    trace = new_trace()
    body = {"model": host.model, "messages": [{"role": "user", "content": "slow"}]}
    headers = {"x-limbeck-deadline-ms": "300", "x-limbeck-inference-id": trace}
    assert host.post(body, headers).status_code == 504
    (call,) = host.calls(trace)
    assert call.outputs is None
    assert call.latency_us > 50_000
    assert host.post(body, {"x-limbeck-deadline-ms": "soon"}).status_code == 400


@pytest.mark.parametrize("factory", ["triage:AsyncWithTool", "triage:Support"])
def test_a_run_that_is_stopped_or_has_no_tools_may_be_repeated(hosts: Hosts, factory: str) -> None:
    host = hosts(factory)
    body = {"model": host.model, "messages": [{"role": "user", "content": "slow"}]}
    response = host.post(body, {"x-limbeck-deadline-ms": "100"})
    assert (response.status_code, response.headers["x-limbeck-tools-ran"]) == (504, "0")


def test_an_unknown_model_is_404(hosts: Hosts) -> None:
    host = hosts("triage:reply")
    for model in ("other@teacher", "triage@s1-0000", "triage"):
        response = host.post({"model": model, "messages": []})
        assert (response.status_code, response.headers["x-limbeck-error"]) == (404, "unknown_model")


def test_without_the_internal_key_only_the_health_is_told(hosts: Hosts) -> None:
    client = hosts("triage:reply").client
    assert client.get("/healthz").json() == {"ok": True}
    for key in ({"authorization": ""}, {"authorization": "Bearer wrong"}):
        for path in ("/v1/models", "/v1/program"):
            assert client.get(path, headers=key).status_code == 401
        assert client.post("/v1/chat/completions", json={}, headers=key).status_code == 401


def test_models_and_description(hosts: Hosts) -> None:
    host = hosts("triage:typed")
    models = host.client.get("/v1/models").json()["data"]
    assert [model["id"] for model in models] == ["triage@teacher"]
    raw = host.client.get("/v1/program").content
    described = msgspec.json.decode(raw, type=ProgramDescription)
    assert list(described.input_fields) == ["text", "customer"]
    assert described.output_fields["urgent"].closed == (False, True)
    assert described.output_fields["priority"].closed == ("low", "high")
    assert described.predictors["self"].inputs == ("text", "customer")
    assert "Sort a support ticket." in raw.decode()


def test_a_taken_port_is_named(hosts: Hosts, tmp_path: Path) -> None:
    taken = hosts("triage:reply").client.base_url.port
    process = _start(tmp_path, "triage:reply", port=taken)
    assert process.wait(timeout=30) != 0
    assert f"cannot listen on 127.0.0.1:{taken}" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("nowhere:make", "there is no module nowhere"),
        ("triage:nothing", 'has no "nothing"'),
        ("broken:make", "this module cannot be imported"),
        ("triage:raises", "no database here"),
        ("triage:no_module", "returned str"),
        ("triage:instance", "is no factory"),
        ("triage", 'not of the form "package.module:name"'),
    ],
)
def test_a_program_that_cannot_be_loaded_stops_the_host(
    tmp_path: Path, factory: str, words: str
) -> None:
    process = _start(tmp_path, factory)
    assert process.wait(timeout=30) != 0
    assert words in (tmp_path / "log").read_text()


def test_system_messages_go_where_the_route_says(teacher: Upstream, tmp_path: Path) -> None:
    system = {"role": "system", "content": "Ada"}
    messages = {"messages": [system, {"role": "user", "content": "help!"}]}
    lm = teacher.base_url
    with running_host(tmp_path / "1", "triage:reply", lm, system="ignore") as host:
        assert content(host.post({"model": host.model, **messages})) == "answer of <help!>"
        assert "Ada" not in str(teacher.requests[-1]["messages"])
    with running_host(tmp_path / "2", "triage:typed", lm, system="field:customer") as host:
        content(host.post({"model": host.model, **messages}))
        assert "Ada" in teacher.requests[-1]["messages"][-1]["content"]


def test_a_system_rule_names_an_input_of_the_program(tmp_path: Path) -> None:
    process = _start(tmp_path, "triage:typed", system="field:client")
    assert process.wait(timeout=30) != 0
    said = (tmp_path / "log").read_text()
    assert "the program has no input `client`; it has `text`, `customer`" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_finishes_what_runs(
    teacher: Upstream, tmp_path: Path, number: signal.Signals
) -> None:
    with running_host(tmp_path, "triage:reply", teacher.base_url) as host:
        with ThreadPoolExecutor(1) as pool:
            trace = new_trace()
            before = len(teacher.requests)
            answer = pool.submit(host.ask, "slow", trace=trace)
            until(lambda: len(teacher.requests) > before, what="the request is under way")
            host.process.send_signal(number)
            assert content(answer.result()) == "answer of <slow>"
        assert host.process.wait(timeout=30) == 0
        assert len(host.calls(trace)) == 1


def _start(folder: Path, factory: str, **settings: Any) -> subprocess.Popen[bytes]:
    values = {
        "route": "triage",
        "side": "teacher",
        "factory": factory,
        "user_dir": str(APP),
        "lm": {"base_url": "http://127.0.0.1:9/v1", "model": "m"},
        "students": str(folder),
        "spool": str(folder / "spool"),
        "port": free_port(),
        **settings,
    }
    return start(folder, values)
