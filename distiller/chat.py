"""Chat messages as text: the one form that training rows, skeletons and students share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from traces.chat import text_of


class Message(msgspec.Struct, frozen=True):
    """One message, its content flattened to text."""

    role: str
    content: str


def checked_text(content: Any) -> str:
    """Return the text of a message's ``content``: a string, or a list of text parts.

    Raises `ValueError` for anything else (images, audio, tool calls without text).
    """
    if not isinstance(content, str | list):
        raise ValueError(f"content must be text, not {_kind(content)}")
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, dict) or not isinstance(part.get("text"), str):
            kind = part.get("type", "?") if isinstance(part, dict) else _kind(part)
            raise ValueError(f"content must be text, not a part of type {kind!r}")
    return text_of(content)


def message_of(item: Any) -> Message:
    """Read one message as clients send it. Raises `ValueError` with the fault."""
    if not isinstance(item, dict):
        raise ValueError(f"a message must be an object, not {_kind(item)}")
    role = item.get("role")
    if not isinstance(role, str) or not role:
        raise ValueError("a message needs a role")
    return Message(role, checked_text(item.get("content")))


def last_user_text(messages: Sequence[Message]) -> str:
    """Return the newest user message, the input of a plain route; empty without one."""
    return next((m.content for m in reversed(messages) if m.role == "user"), "")


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__
