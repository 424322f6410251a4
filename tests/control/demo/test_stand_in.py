from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import openai
import pytest

from control.demo.stand_in import MODEL, create_app
from control.demo.world import TicketWorld
from tests.control.demo.served import served

_PROMPT = (
    "[[ ## text ## ]]\n{text}\n\nRespond with the corresponding output fields, starting with the "
    "field `[[ ## reasoning ## ]]`, then `[[ ## category ## ]]`."
)


@pytest.fixture(scope="module")
def world() -> TicketWorld:
    world = TicketWorld()
    world.questions(50)
    return world


@pytest.fixture(scope="module")
def url(world: TicketWorld) -> Iterator[str]:
    with served(create_app(world, latency_s=0.001)) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with client_of(url) as client:
        yield client


@contextmanager
def client_of(url: str) -> Iterator[openai.OpenAI]:
    http = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(
        base_url=f"{url}/v1", api_key="any", max_retries=0, http_client=http
    ) as client:
        yield client


def ask(client: openai.OpenAI, text: str) -> str:
    done = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}])
    return done.choices[0].message.content or ""


def test_a_dspy_prompt_gets_dspy_fields(client: openai.OpenAI, world: TicketWorld) -> None:
    text = world.questions(50)[3].text
    done = client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "system", "content": "Your input fields are: `text`"},
            {"role": "user", "content": _PROMPT.format(text=text)},
        ],
    )
    said = done.choices[0].message.content or ""
    assert f"[[ ## category ## ]]\n{world.answer(text, policy=1)}\n" in said
    assert said.startswith("[[ ## reasoning ## ]]")
    assert said.endswith("[[ ## completed ## ]]")
    assert done.choices[0].finish_reason == "stop"
    assert done.usage is not None
    assert done.usage.prompt_tokens > 40
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens


def test_a_plain_chat_gets_the_label(client: openai.OpenAI, world: TicketWorld) -> None:
    for question in world.questions(20):
        assert ask(client, question.text) == world.answer(question.text, policy=1)


def test_text_in_parts(client: openai.OpenAI) -> None:
    done = client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "cancel my "},
                                         {"type": "text", "text": "order please"}]},
            {"role": "assistant", "content": None},
        ],
    )  # fmt: skip
    assert done.choices[0].message.content == "cancel_order"


@pytest.mark.parametrize("usage", [True, False])
def test_a_stream_says_the_same(client: openai.OpenAI, world: TicketWorld, usage: bool) -> None:
    prompt = _PROMPT.format(text=world.questions(50)[5].text)
    options = {"include_usage": usage}
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": prompt}], stream=True,
            stream_options=options,  # type: ignore[arg-type]
        )
    )  # fmt: skip
    deltas = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert len(deltas) > 5
    assert "".join(deltas) == ask(client, prompt)
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert (chunks[-1].usage is not None) is usage


def test_the_policy_moves(world: TicketWorld) -> None:
    texts = [question.text for question in world.questions(50)]
    with served(create_app(world, latency_s=0.0)) as url, client_of(url) as client:
        before = [ask(client, text) for text in texts]
        moved = httpx.post(f"{url}/world", json={"policy": 2}, trust_env=False)
        assert (moved.status_code, moved.json()) == (200, {"policy": 2})
        after = [ask(client, text) for text in texts]
    assert before == [world.answer(text, policy=1) for text in texts]
    assert after == [world.answer(text, policy=2) for text in texts]
    assert before != after


def test_models_and_health(client: openai.OpenAI, url: str) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert httpx.get(f"{url}/healthz", trust_env=False).json() == {"ok": True}


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/v1/chat/completions", b"", "truncated"),
        ("/v1/chat/completions", b"not json", "malformed"),
        ("/v1/chat/completions", b"[]", "Expected `object`"),
        ("/v1/chat/completions", b'{"model": "m"}', "messages"),
        ("/v1/chat/completions", b'{"messages": []}', "model"),
        ("/v1/chat/completions", b'{"model": "m", "messages": "hi"}', "$.messages"),
        ("/v1/chat/completions", b'{"model": "m", "messages": [{"role": "user", "content": 3}]}',
         "$.messages[0].content"),
        ("/v1/chat/completions", b'{"model": "m", "messages": []}', "none is of the user"),
        ("/v1/chat/completions", b'{"model": "\xff"}', "utf-8"),
        ("/world", b'{"policy": 3}', "policy"),
        ("/world", b"{}", "policy"),
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_used(url: str, path: str, body: bytes, says: str) -> None:
    answer = httpx.post(f"{url}{path}", content=body, trust_env=False)
    assert answer.status_code == 400
    error = json.loads(answer.content)["error"]
    assert error["type"] == "invalid_request_error"
    assert error.keys() >= {"message", "type", "param", "code"}
    assert says.lower() in error["message"].lower()
