"""The request's body: the few fields that the gateway reads, and the model name in its bytes."""

from __future__ import annotations

import re

import msgspec

from gateway.errors import Refusal


class Head(msgspec.Struct, frozen=True):
    """What the gateway reads of a chat completion; everything else is skipped unparsed."""

    model: str
    stream: bool | None = None
    store: bool | None = None
    user: str | None = None
    metadata: msgspec.Raw = msgspec.Raw(b"")
    safety_identifier: str | None = None
    messages: msgspec.Raw = msgspec.Raw(b"")


_NOTHING = msgspec.Raw(b"")
_decode_head = msgspec.json.Decoder(Head).decode
_decode_text = msgspec.json.Decoder(str).decode

_KEY = b'"model"'
#: a key may spell letters as escapes; those of "model" all begin like this
_ESCAPED_LETTER = b"\\u006"
_VALUE = re.compile(rb'[ \t\n\r]*:[ \t\n\r]*("[^"\\]*(?:\\.[^"\\]*)*")', re.DOTALL)
_MESSAGES = re.compile(rb'"messages"[ \t\n\r]*:[ \t\n\r]*')
#: from here on it pays not to search the messages
_BIG = 16 * 1024
#: everything that decides where a key of the outermost object is
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)


def parse_head(body: bytes) -> Head:
    """Read the body's head; raise `Refusal` (400) for what is no chat completion."""
    try:
        return _decode_head(body)
    except msgspec.ValidationError as error:
        message = f"The request body is not valid: {error}."
        raise Refusal(400, message, param=_param(error), code="invalid_body") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"The request body is not valid JSON: {error}."
        raise Refusal(400, message, code="invalid_json") from None


def splice_model(body: bytes, name: bytes, *, messages: msgspec.Raw = _NOTHING) -> bytes:
    """Replace the value of the outermost ``model`` key, and not one byte besides.

    ``body`` has been read by `parse_head`, and ``messages`` is what it found there; ``name`` is
    the new value as JSON, with its quotes.
    """
    span = _only_value(body, _without(body, messages))
    if span is None:
        return _splice_all(body, name)
    start, end = span
    return b"".join((body[:start], name, body[end:]))


def _only_value(body: bytes, parts: tuple[tuple[int, int], ...]) -> tuple[int, int] | None:
    """Find the model's value where one search is proof enough.

    The body has an outermost key "model", and it is in one of the parts. If it is spelt without
    escapes, and these bytes occur in them once, then that is the key.
    """
    at = -1
    for start, end in parts:
        found = body.find(_KEY, start, end)
        if found >= 0:
            if at >= 0 or body.find(_KEY, found + 1, end) >= 0:
                return None
            at = found
        if body.find(_ESCAPED_LETTER, start, end) >= 0:
            return None
    value = _VALUE.match(body, at + len(_KEY)) if at >= 0 else None
    return None if value is None else value.span(1)


def _without(body: bytes, messages: msgspec.Raw) -> tuple[tuple[int, int], ...]:
    """Return the parts of the body to search: of a big one those around the messages."""
    size = len(body)
    if size > _BIG:
        key = _MESSAGES.search(body)
        value = bytes(messages)
        if key is not None and body.startswith(value, key.end()):
            return (0, key.end()), (key.end() + len(value), size)
    return ((0, size),)


def _splice_all(body: bytes, name: bytes) -> bytes:
    """As `splice_model`, whatever else is called "model"; a doubled key is replaced each time."""
    out: list[bytes] = []
    depth = done = 0
    after = -1
    for token in _TOKEN.finditer(body):
        start = token.start()
        kind = body[start]
        if kind in b"{[":
            depth += 1
        elif kind in b"}]":
            depth -= 1
        elif depth == 1 and start >= after:
            value = _VALUE.match(body, token.end())
            if value is None:
                continue  # this text is itself a value
            after = value.end()
            if _decode_text(token.group()) == "model":
                out += (body[done : value.start(1)], name)
                done = value.end(1)
    out.append(body[done:])
    return b"".join(out)


def _param(error: msgspec.ValidationError) -> str | None:
    message = str(error)
    _, _, path = message.partition(" - at `$.")
    if path:
        return path.rstrip("`")
    return "model" if "required field `model`" in message else None
