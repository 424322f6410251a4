"""Values that JSON can carry, and text that is a JSON object."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import pydantic

#: what a decoder raises for a text that is no JSON, or nested too deeply
_NO_JSON = (msgspec.DecodeError, RecursionError)
_encode = msgspec.json.Encoder(order="sorted").encode


def json_safe(value: Any) -> Any:
    """Return ``value`` as JSON values; what has no such form becomes its text, NaN becomes None.

    Raises `RecursionError` for what is nested too deeply, some hundred levels.
    """
    if value is None or isinstance(value, str | bool | int):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [json_safe(item) for item in value]
    try:
        adapter = pydantic.TypeAdapter(type(value))
        dumped = adapter.dump_python(value, mode="json", fallback=str)
    except Exception:  # the user's own types may raise anything
        return str(value)
    return str(value) if type(dumped) is type(value) else json_safe(dumped)


def json_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that ``text`` is, or None."""
    decoded = _decoded(text, "{")
    return decoded if isinstance(decoded, dict) else None


def is_json(text: str) -> bool:
    """Whether ``text`` is a JSON object or list."""
    return _decoded(text, "{", "[") is not None


def canonical_json(text: str) -> str:
    """Return a JSON object or list in its one form; any other text stays as it is."""
    decoded = _decoded(text, "{", "[")
    return text if decoded is None else encode_canonically(decoded)


def encode_canonically(value: Any) -> str:
    """Return JSON with sorted keys and without spaces: equal values give equal texts."""
    return _encode(value).decode()


def _decoded(text: str, *starts: str) -> Any:
    if not text.lstrip().startswith(starts):
        return None
    try:
        return msgspec.json.decode(text)
    except _NO_JSON:
        return None
