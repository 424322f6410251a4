"""An upstream's error in a form of its own, told in OpenAI's. Pure."""

from __future__ import annotations

import msgspec

from gateway.errors import error_body

#: of the upstream's text, shown to the caller
_SHOWN_CHARACTERS = 500
_READ_BYTES = 4 * _SHOWN_CHARACTERS
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def is_json(content_type: bytes, body: bytes) -> bool:
    """Tell whether an error's body is JSON, which passes on as it is."""
    kind = content_type.partition(b";")[0].strip().lower()
    if kind:
        return kind == b"application/json" or kind.endswith(b"+json")
    try:
        _decode_object(body)
    except (ValueError, RecursionError):
        return False
    return True


def told(body: bytes, *, upstream: str, status: int, encoded: bool, request_id: str) -> bytes:
    """Return an error body that quotes the upstream's text; an ``encoded`` one can't be quoted."""
    message = f"{upstream} answered with status {status}"
    text = "" if encoded else " ".join(body[:_READ_BYTES].decode("utf-8", "replace").split())
    if text:
        message += f": {text[:_SHOWN_CHARACTERS]}"
    return error_body(message, type="upstream_error", code=f"http_{status}", request_id=request_id)
