"""The sticky key: what assignment hashes, so that one conversation stays on one side."""

from __future__ import annotations

import hashlib

import msgspec

from gateway.body import Head


class _Metadata(msgspec.Struct, frozen=True):
    session_id: str | int | None = None
    conversation_id: str | int | None = None
    episode_id: str | int | None = None


class _Message(msgspec.Struct, frozen=True):
    role: str = ""
    content: msgspec.Raw = msgspec.Raw(b"")


_decode_metadata = msgspec.json.Decoder(_Metadata).decode
_decode_messages = msgspec.json.Decoder(list[_Message]).decode
#: what a decoder raises for another form, broken UTF-8, or too deep a nesting
_UNREADABLE = (ValueError, RecursionError)


def conversation_of(header: str | None, head: Head) -> str | None:
    """Return the conversation's id: from a header, else from the body's ``metadata``."""
    if header is not None or not head.metadata:
        return header
    try:
        metadata = _decode_metadata(head.metadata)
    except _UNREADABLE:
        return None  # metadata of another form is the upstream's business
    found = metadata.session_id or metadata.conversation_id or metadata.episode_id
    return None if found is None or found == "" else str(found)


def sticky_key(conversation: str | None, head: Head, *, trace_id: str) -> str:
    """Return the key, the first that exists; at worst the trace id, which is random.

    Not ``prompt_cache_key``: apps set it once for a prompt, and all their users would be one.
    Parses the messages if nothing better is there: call it only where a student has weight.
    """
    return conversation or head.user or head.safety_identifier or _opening(head) or trace_id


def _opening(head: Head) -> str | None:
    """Hash what stays the same over the turns of a chat: system and first user message."""
    try:
        messages = _decode_messages(head.messages)
    except _UNREADABLE:
        return None
    digest = hashlib.blake2b(digest_size=16)
    for message in messages:
        if message.role in ("system", "developer", "user"):
            digest.update(b"%s\x1f%s\x1f" % (message.role.encode(), bytes(message.content)))
        if message.role == "user":
            return digest.hexdigest()
    return None
