"""Answers through a real worker: JSON, streams, headers, errors, keep-alive."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from router.snapshot import Upstream
from tests.fakes.upstream import FakeUpstream
from tests.gateway.rig import (
    HTTP,
    Rig,
    WorkerProcess,
    ask,
    free_port,
    snapshot,
    student_route,
    teacher_route,
)
from tests.polling import until

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def worker(shared_rig: Rig, shared_upstream: FakeUpstream) -> Iterator[WorkerProcess]:
    shared_rig.publish(
        snapshot(
            shared_upstream.base_url,
            {
                "triage": teacher_route(),
                "audited": teacher_route(audit_rate=1.0),
                "nowhere": teacher_route(upstream="dead"),
            },
            passthrough="up",
            upstreams={"dead": Upstream(base_url=f"http://127.0.0.1:{free_port()}/v1")},
        )
    )
    yield shared_rig.start()


def test_the_sdk_gets_an_answer(worker: WorkerProcess, shared_upstream: FakeUpstream) -> None:
    answer = worker.openai().chat.completions.create(model="triage", messages=HELLO)
    assert answer.choices[0].message.content == "teacher-model: hello"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 3
    assert answer._request_id == "req_fake"
    assert shared_upstream.received[-1].model == "teacher-model"


def test_the_sdk_gets_a_stream(worker: WorkerProcess) -> None:
    stream = worker.openai().chat.completions.create(model="triage", messages=HELLO, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in stream) == "teacher-model: hello"


def test_the_bytes_of_a_stream_are_the_upstreams(worker: WorkerProcess) -> None:
    through = ask(worker, model="fake-model", stream=True)
    assert through.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert through.content.endswith(b"data: [DONE]\n\n")
    events = [json.loads(e[6:]) for e in through.text.split("\n\n")[:-2]]
    assert "".join(e["choices"][0]["delta"]["content"] for e in events) == "fake-model: hello"


@pytest.mark.parametrize("fake", ["no_done", "events=1", "chunked", "to_close", "gap=0.02"])
def test_every_form_of_a_stream(worker: WorkerProcess, fake: str) -> None:
    answer = ask(worker, stream=True, metadata={"fake": fake})
    assert answer.status_code == 200
    assert answer.content.endswith(b"[DONE]\n\n") is (fake != "no_done")


def test_nobody_waits_for_an_upstream_that_lingers_after_done(worker: WorkerProcess) -> None:
    started = time.monotonic()
    answer = ask(worker, stream=True, metadata={"fake": "linger;gap=0.01"})
    assert answer.content.endswith(b"data: [DONE]\n\n")
    assert time.monotonic() - started < 5


def test_an_upstream_that_lingers_after_done_holds_no_connection(
    rig: Rig, upstream: FakeUpstream
) -> None:
    rig.publish(snapshot(upstream.base_url))
    assert ask(rig.start(), stream=True, metadata={"fake": "linger"}).status_code == 200
    until(lambda: upstream.cancelled == 1, seconds=5, what="the end of the connection")


def test_the_body_passes_unchanged_but_for_the_model(
    worker: WorkerProcess, shared_upstream: FakeUpstream
) -> None:
    body = (
        b'{ "messages":[{"role":"user","content":"\\"model\\": \xc3\xbc"}],\n\t"model" : "triage" }'
    )
    assert HTTP.post(f"{worker.url}/v1/chat/completions", content=body).status_code == 200
    assert shared_upstream.received[-1].body == body.replace(b'"triage"', b'"teacher-model"')


def test_another_model_passes_through_untouched(
    worker: WorkerProcess, shared_upstream: FakeUpstream
) -> None:
    answer = ask(worker, model="gpt-fake/large")
    assert answer.json()["choices"][0]["message"]["content"] == "gpt-fake/large: hello"
    assert answer.headers["x-limbeck-route-reason"] == "default"


def test_the_headers_of_an_answer(worker: WorkerProcess) -> None:
    headers = ask(worker).headers
    assert UUID7.fullmatch(headers["x-limbeck-inference-id"])
    assert headers["x-limbeck-served-by"] == "teacher"
    assert headers["x-limbeck-route-reason"] == "default"
    assert headers["x-request-id"] == "req_fake"
    assert headers["openai-processing-ms"] == "7"
    assert 0 <= float(headers["x-limbeck-overhead-ms"]) < 1000
    assert "x-limbeck-student" not in headers
    assert "x-limbeck-audit" not in headers
    assert ask(worker, model="audited").headers["x-limbeck-audit"] == "1"
    unrecorded = ask(worker, model="audited", store=False)
    assert "x-limbeck-audit" not in unrecorded.headers, "nobody could label it"


def test_the_clients_request_id_is_taken_over(
    worker: WorkerProcess, shared_upstream: FakeUpstream
) -> None:
    answer = ask(worker, headers={"x-request-id": "mine-1", "traceparent": "00-a-b-01"})
    assert answer.headers["x-request-id"] == "mine-1"
    received = shared_upstream.received[-1].headers
    assert received["traceparent"] == "00-a-b-01"
    assert not [name for name in received if name.startswith("x-limbeck")]


def test_an_upstreams_error_passes(worker: WorkerProcess) -> None:
    fake = {"fake": "status=429;header=retry-after:7"}
    with pytest.raises(openai.RateLimitError, match="a fault on purpose"):
        worker.openai().chat.completions.create(model="triage", messages=HELLO, metadata=fake)
    assert ask(worker, metadata=fake).headers["retry-after"] == "7"


def test_an_upstreams_error_in_a_stream_passes(worker: WorkerProcess) -> None:
    with pytest.raises(openai.BadRequestError):
        worker.openai().chat.completions.create(
            model="triage", messages=HELLO, stream=True, metadata={"fake": "status=400"}
        )


def test_an_error_that_is_no_json_becomes_one(worker: WorkerProcess) -> None:
    answer = ask(worker, metadata={"fake": "status=502;plain"})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (502, "upstream_error", "http_502")
    assert error["request_id"] == answer.headers["x-limbeck-inference-id"]
    assert ask(worker, metadata={"fake": "status=302;plain"}).status_code == 502
    answer = ask(worker, metadata={"fake": "status=502;plain;header=x-request-id: req_up"})
    assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"] == "req_up"


@pytest.mark.parametrize(
    ("fake", "status", "code"),
    [
        ("status=403;kind=application/problem+json", 403, "fake"),
        ("status=403;kind=Application/JSON", 403, "fake"),
        ("status=403;kind=", 403, "fake"),
        ("status=700", 502, "fake"),
        ("status=700;plain", 502, "http_700"),
    ],
)
def test_an_error_that_is_json_passes_however_it_is_labelled(
    worker: WorkerProcess, fake: str, status: int, code: str
) -> None:
    answer = ask(worker, metadata={"fake": fake})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_an_error_that_is_no_json_is_quoted(worker: WorkerProcess) -> None:
    answer = ask(worker, metadata={"fake": "status=403;plain"})
    assert answer.status_code == 403
    assert answer.json()["error"]["message"].endswith("status 403: <h1>Bad gateway</h1>")


def test_a_stream_may_spell_its_type_as_it_likes(worker: WorkerProcess) -> None:
    fake = {"fake": "kind=Text/Event-Stream;stall"}
    started = time.monotonic()
    headers = {"x-limbeck-timeout-ms": "500"}
    answer = ask(worker, stream=True, metadata=fake, headers=headers)
    assert answer.status_code == 200  # the first events went out; whole, it would be a 504
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("fake", ["drop=request", "drop=head", "drop=body", "garbage", "empty"])
def test_a_lost_answer_is_a_502(worker: WorkerProcess, fake: str) -> None:
    answer = ask(worker, metadata={"fake": fake})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (
        502,
        "upstream_error",
        "upstream_lost",
    )
    assert error["request_id"]


def test_an_upstream_that_is_not_there_is_a_502(worker: WorkerProcess) -> None:
    answer = ask(worker, model="nowhere")
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_unreachable"
    assert "dead" in answer.json()["error"]["message"]


def test_the_clients_deadline_is_a_504(worker: WorkerProcess) -> None:
    headers = {"x-limbeck-timeout-ms": "200"}
    answer = ask(worker, metadata={"fake": "hang"}, headers=headers)
    assert answer.status_code == 504
    assert answer.json()["error"]["type"] == "upstream_timeout"


def test_a_stream_that_breaks_ends_with_an_error_and_without_done(worker: WorkerProcess) -> None:
    fake = {"fake": "drop=body;events=6"}
    answer = ask(worker, stream=True, metadata=fake)
    events = answer.text.rstrip("\n").split("\n\n")
    assert json.loads(events[0][6:])["choices"]
    assert json.loads(events[-1][6:])["error"]["code"] == "upstream_lost"
    assert "[DONE]" not in answer.text
    with pytest.raises(openai.APIError, match="broke off"):
        for _ in worker.openai().chat.completions.create(
            model="triage", messages=HELLO, stream=True, metadata=fake
        ):
            pass


def test_a_stream_that_breaks_within_an_event_is_an_api_error(worker: WorkerProcess) -> None:
    fake = {"fake": "drop=event"}
    answer = ask(worker, stream=True, metadata=fake)
    *_, last, end = answer.text.split("\n\n")
    assert json.loads(last[6:])["error"]["code"] == "upstream_lost"
    assert end == ""
    with pytest.raises(openai.APIError, match="broke off"):
        for _ in worker.openai().chat.completions.create(
            model="triage", messages=HELLO, stream=True, metadata=fake
        ):
            pass


def test_an_encoded_answer_passes_as_it_is(worker: WorkerProcess) -> None:
    answer = ask(worker, metadata={"fake": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.json()["choices"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_big_request_and_a_big_answer(worker: WorkerProcess, stream: bool) -> None:
    messages = [{"role": "user", "content": "x" * 3_000_000}]
    fake = {"fake": "size=3000000;events=50"}
    answer = ask(worker, messages=messages, metadata=fake, stream=stream)
    assert answer.status_code == 200
    assert answer.text.count("x") >= 3_000_000


def test_a_body_above_the_limit_is_a_413(worker: WorkerProcess) -> None:
    answer = HTTP.post(f"{worker.url}/v1/chat/completions", content=b"x" * (33 * 1024 * 1024))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


def test_pipelined_and_split_requests_on_one_connection(worker: WorkerProcess) -> None:
    def request(text: str) -> bytes:
        body = json.dumps(
            {"model": "triage", "messages": [{"role": "user", "content": text}]}
        ).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
        return (head % len(body)).encode() + body

    with socket.create_connection(("127.0.0.1", worker.settings.port), timeout=10) as connection:
        data = request("first") + request("second") + request("third")
        connection.sendall(data[:40])
        connection.sendall(data[40:300])
        connection.sendall(data[300:])
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        received = b""
        while part := connection.recv(65536):
            received += part
    texts = re.findall(rb"teacher-model: (\w+)", received)
    assert texts == [b"first", b"second", b"third"]
    assert received.endswith(b'{"ok":true}')


def test_a_chunked_request_and_expect_100(worker: WorkerProcess) -> None:
    body = json.dumps({"model": "triage", "messages": []}).encode()
    parts = iter([body[:10], body[10:]])
    headers = {"expect": "100-continue"}
    answer = HTTP.post(f"{worker.url}/v1/chat/completions", content=parts, headers=headers)
    assert answer.status_code == 200


def test_an_override_holds_for_a_request_whose_body_is_still_coming(
    rig: Rig, upstream: FakeUpstream
) -> None:
    rig.publish(snapshot(upstream.base_url, {"triage": student_route()}))
    worker = rig.start()
    body = json.dumps({"model": "triage", "messages": []}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", worker.settings.port)) as connection:
        connection.sendall(head.encode() + body[:9])
        ask(worker)  # by now the worker has read the head
        rig.override("triage")
        until(lambda: worker.acknowledgement().overrides, what="the acknowledgement")
        connection.sendall(body[9:])
        answer = connection.recv(65536)
    assert b"x-limbeck-served-by: teacher\r\nx-limbeck-route-reason: rollback\r\n" in answer
