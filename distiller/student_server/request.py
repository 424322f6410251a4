"""The body of ``POST /v1/chat/completions``, as far as a student reads it.

A student's answer is the most likely one: ``temperature``, ``seed`` and the like are accepted and
change nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec

from distiller.chat import Message, message_of
from distiller.student_server.answer import BadInputs, Question
from programs.answer import wants_json

INPUTS_KEY = "limbeck_inputs"


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, of whom, and in which form to answer."""

    model: str
    question: Question
    stream: bool
    include_usage: bool
    logprobs: bool
    #: the answer must be a JSON object; that it fits a schema is not checked
    as_json: bool


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    messages: list[Any]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    logprobs: bool | None = None
    n: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: list[Any] | None = None
    response_format: Any = None
    metadata: dict[str, Any] | None = None


def parse_chat_request(body: bytes) -> ChatRequest:
    """Raises `BadInputs` that names what is wrong."""
    try:
        sent = msgspec.json.decode(body, type=_Body)
    except msgspec.MsgspecError as error:
        raise BadInputs(f"the body is no chat completion: {error}") from None
    if sent.n not in (None, 1):
        raise BadInputs(f"n is {sent.n}: a student gives one answer")
    if sent.tools:
        raise BadInputs("tools are given: a student calls none")
    limits = [n for n in (sent.max_tokens, sent.max_completion_tokens) if n is not None]
    return ChatRequest(
        model=sent.model,
        question=Question(
            messages=_messages(sent.messages),
            inputs=_inputs(sent.metadata or {}),
            max_tokens=min(limits, default=None),
        ),
        stream=bool(sent.stream),
        include_usage=bool(sent.stream_options and sent.stream_options.include_usage),
        logprobs=bool(sent.logprobs),
        as_json=wants_json({"response_format": sent.response_format}),
    )


def _messages(items: list[Any]) -> list[Message]:
    messages = []
    for position, item in enumerate(items):
        try:
            messages.append(message_of(item))
        except ValueError as error:
            raise BadInputs(f"messages[{position}]: {error}") from None
    if not messages:
        raise BadInputs("messages is empty")
    return messages


def _inputs(metadata: dict[str, Any]) -> dict[str, Any] | None:
    text = metadata.get(INPUTS_KEY)
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, TypeError) as error:
        raise BadInputs(f"metadata.{INPUTS_KEY} is no JSON object: {error}") from None
