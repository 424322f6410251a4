from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from control.demo.stand_in import PRICE_IN, PRICE_OUT
from control.demo.traffic import Traffic, Window, category_of
from control.demo.world import TicketWorld
from tests.control.demo.served import served
from tests.polling import until_async

#: of a question's place in the order
FAILS, WRONG, BY_STUDENT, SILENT = 3, 5, 7, 11


@dataclass
class Gateway:
    """Answers as limbeck does: each text's place says how. Keeps the feedback."""

    world: TicketWorld
    total: int
    url: str = ""
    feedback: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    refuse_feedback: bool = False
    #: place -> the body of a 200 that is no completion
    broken: dict[int, bytes] = field(default_factory=dict)

    def app(self) -> FastAPI:
        app = FastAPI()
        place = {q.text: n for n, q in enumerate(self.world.questions(self.total))}

        @app.post("/v1/chat/completions")
        async def chat(request: Request) -> Response:
            self.keys.add(request.headers["authorization"])
            asked = await request.json()
            text = asked["messages"][0]["content"]
            n = place[text]
            if n == FAILS:
                error = {"message": "out of order", "type": "server_error"}
                return JSONResponse({"error": error}, status_code=503)
            if n in self.broken:
                return Response(self.broken[n], media_type="application/json")
            label = "no_such_queue" if n == WRONG else self.world.truth(text, policy=1)
            message = {"role": "assistant", "content": json.dumps({"category": label})}
            body = {
                "id": "c", "object": "chat.completion", "created": 1, "model": asked["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
            }  # fmt: skip
            headers = {"x-limbeck-served-by": "student" if n == BY_STUDENT else "teacher"}
            if n != SILENT:
                headers["x-limbeck-inference-id"] = f"id-{n}"
            return JSONResponse(body, headers=headers)

        @app.post("/v1/feedback")
        async def feedback(request: Request) -> Response:
            body = await request.json()
            if self.refuse_feedback:
                return JSONResponse({"error": {"message": "full"}}, status_code=503)
            self.feedback[body["inference_id"]] = body
            return JSONResponse({})

        return app


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    gateway = Gateway(TicketWorld(seed=2), total=30)
    with served(gateway.app()) as url:
        gateway.url = url
        yield gateway


def traffic(gateway: Gateway, *, rate: float = 400.0) -> Traffic:
    return Traffic(
        base_url=f"{gateway.url}/v1", api_key="demo", route="tickets", world=gateway.world,
        total=gateway.total, rate=rate,
    )  # fmt: skip


async def test_callers_may_rest(gateway: Gateway) -> None:
    callers = traffic(gateway)
    callers.resting = True
    running = asyncio.create_task(callers.run())
    await until_async(lambda: not running.done(), what="the traffic runs")
    callers.resting = False
    await until_async(lambda: callers.left == 0, what="all is sent")
    await running
    callers = traffic(gateway)
    callers.resting = True
    running = asyncio.create_task(callers.run())
    callers.stop()
    await running
    assert callers.sent == 0, "who rests sends nothing, and can be stopped"


async def test_callers_who_rested_make_up_for_nothing(gateway: Gateway) -> None:
    # All at once they would be a load that no one asked for, and time out on a small machine.
    callers = traffic(gateway, rate=60.0)
    callers.resting = True
    running, began = asyncio.create_task(callers.run()), time.monotonic()
    await until_async(lambda: time.monotonic() - began > 0.3, what="the rest")
    callers.resting, woken = False, time.monotonic()
    await until_async(lambda: callers.left == 0, what="all is sent")
    assert time.monotonic() - woken > 28 / 60
    await running


async def test_everything_is_counted(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    # Callers on this machine do not ask a proxy for it.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    callers = traffic(gateway)
    window = callers.phase("teacher alone")
    await callers.run()
    assert (callers.sent, callers.failed, callers.left) == (30, 1, 0)
    assert window.sent == 30
    assert window.right == 28  # one failed, one was wrong
    assert window.served_by == {"teacher": 28, "student": 1}
    assert len(window.latencies_s) == 29
    assert gateway.keys == {"Bearer demo"}
    teacher = (100 * PRICE_IN + 10 * PRICE_OUT) / 1e6
    assert window.cost_usd == pytest.approx(28 * teacher + 110 * 0.05 / 1e6)
    assert len(callers.errors) == 1
    assert "InternalServerError" in callers.errors[0] and "out of order" in callers.errors[0]


async def test_an_answer_that_cannot_be_read_is_a_failed_request(gateway: Gateway) -> None:
    gateway.broken = {
        0: b'{"id": "c"',
        1: b'{"id": "c", "choices": []}',
        2: b'{"id": "c", "choices": null}',
        4: b'{"choices": [{"message": null}]}',
        6: b'"no object"',
        8: b'{"choices": [{"message": {"content": "fees"}}], "usage": {"prompt_tokens": "x"}}',
    }
    callers = traffic(gateway)
    window = callers.phase("all")
    await callers.run()
    assert callers.failed == len(gateway.broken) + 1
    assert window.sent == 30 == window.answered + window.failed
    assert sum(window.served_by.values()) == window.answered
    assert any(error.startswith("JSONDecodeError") for error in callers.errors)


async def test_a_lost_request_is_no_success(gateway: Gateway) -> None:
    callers = traffic(gateway)
    callers.phase("all").sent += 1
    with pytest.raises(RuntimeError, match="1 of 31 requests of 'all' were neither"):
        await callers.run()


async def test_the_truth_follows_every_answer(gateway: Gateway) -> None:
    callers = traffic(gateway)
    await callers.run()
    questions = gateway.world.questions(30)
    assert gateway.feedback.keys() == {f"id-{n}" for n in range(30) if n not in (FAILS, SILENT)}
    for name, body in gateway.feedback.items():
        truth = questions[int(name.removeprefix("id-"))].truth
        assert body == {
            "inference_id": name, "metric": "truth", "value": True,
            "gold": {"category": truth}, "source": "helpdesk",
        }  # fmt: skip


async def test_refused_feedback_is_told_but_no_failed_request(gateway: Gateway) -> None:
    gateway.refuse_feedback = True
    callers = traffic(gateway)
    await callers.run()
    assert callers.failed == 1
    # Of many errors the first few are kept.
    assert len(callers.errors) == 5
    assert any(error.startswith("feedback: HTTPStatusError") for error in callers.errors)


async def test_stop_ends_the_traffic_after_what_is_in_flight(gateway: Gateway) -> None:
    callers = traffic(gateway, rate=40.0)
    running = asyncio.create_task(callers.run())
    await until_async(lambda: callers.sent >= 2, what="two requests")
    callers.stop()
    await running
    assert callers.sent + callers.left == 30
    assert callers.left > 0
    window = callers.windows["start"]
    assert window.sent == len(window.latencies_s) + window.failed


async def test_nobody_listens() -> None:
    callers = traffic(Gateway(TicketWorld(), total=8, url="http://127.0.0.1:9"))
    await callers.run()
    assert (callers.sent, callers.failed) == (8, 8)
    assert all(error.startswith("APIConnectionError") for error in callers.errors)


def test_quantiles() -> None:
    window = Window(latencies_s=[0.4, 0.1, 0.3, 0.2])
    assert (window.quantile(0.0), window.quantile(0.5), window.quantile(1.0)) == (0.1, 0.3, 0.4)
    assert Window().quantile(0.5) is None


@pytest.mark.parametrize(
    ("answer", "category"),
    [
        ('{"category": "fees", "confidence": 0.4}', "fees"),
        ("fees\n", "fees"),
        ('{"reply": 1}', ""),
        ("[1]", "[1]"),
        ('"fees"', '"fees"'),
        ("", ""),
    ],
)
def test_category_of(answer: str, category: str) -> None:
    assert category_of(answer) == category
