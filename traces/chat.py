"""OpenAI chat completions as they lie in a frame: lenient readers of requests and answers. Pure.

Whatever a client or an upstream sent must become a row, so nothing here raises on odd content.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Message(msgspec.Struct, frozen=True):
    """A message of a request or an answer; content is a text or a list of parts."""

    role: str = ""
    content: Any = None


class ChatRequest(msgspec.Struct, frozen=True):
    """What a trace takes from the body of a request."""

    messages: list[Message] = []
    user: Any = None
    safety_identifier: Any = None
    metadata: Any = None


class Choice(msgspec.Struct, frozen=True):
    message: Message | None = None


class Completion(msgspec.Struct, frozen=True):
    """What a trace takes from an answer, or from an error body."""

    choices: list[Choice] | None = None
    usage: Any = None
    error: Any = None

    @property
    def answer(self) -> str | None:
        """Content of the first choice; None for a tool call, a refusal without text, an error."""
        if not self.choices or self.choices[0].message is None:
            return None
        content = self.choices[0].message.content
        return None if content is None else text_of(content)

    @property
    def tokens_in(self) -> int | None:
        return self._tokens("prompt_tokens")

    @property
    def tokens_out(self) -> int | None:
        return self._tokens("completion_tokens")

    def _tokens(self, key: str) -> int | None:
        return count_of(self.usage.get(key)) if isinstance(self.usage, dict) else None

    @property
    def error_code(self) -> str | None:
        """The code of an OpenAI-shaped error, else its type; None if there is no error."""
        if isinstance(self.error, dict):
            for key in ("code", "type", "message"):
                if self.error.get(key):
                    return str(self.error[key])[:200]
            return "error"
        return str(self.error)[:200] if self.error else None


_request = msgspec.json.Decoder(ChatRequest).decode
_completion = msgspec.json.Decoder(Completion).decode
_anything = msgspec.json.Decoder().decode
_skip = msgspec.json.Decoder(msgspec.Raw).decode
#: what a decoder raises for a body that is no JSON, or nested too deeply
_UNREADABLE = (ValueError, RecursionError)

#: keys of ``metadata`` that hold a conversation id, the best first
_CONVERSATION_KEYS = ("session_id", "conversation_id", "episode_id")


def read_request(raw: bytes) -> ChatRequest:
    """Read a request; a body that is none gives an empty one."""
    try:
        return _request(raw)
    except _UNREADABLE:
        return ChatRequest()


def read_completion(raw: bytes) -> Completion:
    """Read an answer that is no stream; a body that is none gives an empty one."""
    try:
        return _completion(raw)
    except _UNREADABLE:
        pass
    try:
        value = _anything(raw)
    except _UNREADABLE:
        return Completion()
    return Completion(error=value.get("error")) if isinstance(value, dict) else Completion()


def json_text(raw: bytes) -> str | None:
    """Return a raw body as JSON text: as it is, or as a JSON string when it is no JSON."""
    if not raw:
        return None
    try:
        _skip(raw)
        return raw.decode()
    except _UNREADABLE:
        return msgspec.json.encode(raw.decode(errors="replace")).decode()


def user_texts(messages: list[Message]) -> list[str]:
    """Return the texts of the user's messages, in order."""
    return [text_of(message.content) for message in messages if message.role == "user"]


def last_user_text(messages: Any) -> str:
    """Return the newest user message's text, of messages as JSON values; empty without one."""
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and message.get("role") == "user":
            return text_of(message.get("content"))
    return ""


def text_of(content: Any) -> str:
    """Return the text of a message's content: a string, or its text parts joined by nothing.

    Whoever compares, trains or asks takes a message's text from here: it must be the same text.
    """
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return ""


def conversation_of(request: ChatRequest) -> str | None:
    """Return the conversation id that a request's metadata names."""
    if isinstance(request.metadata, dict):
        for key in _CONVERSATION_KEYS:
            value = request.metadata.get(key)
            if isinstance(value, str) and value:
                return value
    return None


def user_of(request: ChatRequest) -> str | None:
    """Return the user that the body names: ``user``, else ``safety_identifier``."""
    for value in (request.user, request.safety_identifier):
        if isinstance(value, str) and value:
            return value
    return None


def count_of(value: Any) -> int | None:
    """Return a count of tokens that somebody reported; None if it can't be one."""
    known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
    return value if known else None
