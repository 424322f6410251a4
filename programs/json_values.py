"""Values that JSON can carry, and text that is a JSON object."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import pydantic


def json_safe(value: Any) -> Any:
    """Return ``value`` as JSON values; what has no such form becomes its text, NaN becomes None."""
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
    if not text.lstrip().startswith("{"):
        return None
    try:
        decoded = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
    return decoded if isinstance(decoded, dict) else None
