"""Prediction to answer, and an answer's content back to outputs. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from programs.errors import UnusableAnswer
from programs.json_values import json_object

#: outputs that never reach the content of an answer
HIDDEN = frozenset({"reasoning", "trajectory"})


@dataclass(frozen=True, kw_only=True)
class Message:
    """The assistant's message."""

    content: str
    #: goes to ``reasoning_content``
    reasoning: str | None = None


def wants_json(body: Mapping[str, Any]) -> bool:
    """Whether the request's ``response_format`` asks for JSON."""
    wanted = body.get("response_format")
    return isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema")


def message_of(outputs: Mapping[str, Any], *, as_json: bool = False) -> Message:
    """Render outputs (JSON values): one public text output as text, all else as JSON.

    Raises `UnusableAnswer` where there is nothing to show.
    """
    public = {name: value for name, value in outputs.items() if name not in HIDDEN}
    shown = [value for value in public.values() if not _is_empty(value)]
    if not shown:
        raise UnusableAnswer(f"the program's outputs are empty: {sorted(outputs) or 'none'}")
    if len(public) == 1 and isinstance(shown[0], str) and not as_json:
        content = shown[0]
    else:
        content = msgspec.json.encode(public).decode()
    reasoning = outputs.get("reasoning")
    return Message(content=content, reasoning=reasoning if isinstance(reasoning, str) else None)


def prediction_of(content: str, output_fields: Collection[str]) -> dict[str, Any]:
    """Turn an answer's content back into outputs, as a metric sees them.

    ``output_fields`` are the program's outputs; empty means not known. A JSON object gives its
    fields, unless the program's only output is a text that happens to be JSON. Other text belongs
    to the only public output, or to ``answer`` where there is not exactly one.
    """
    public = [name for name in output_fields if name not in HIDDEN]
    only = public[0] if len(public) == 1 else None
    decoded = json_object(content)
    if decoded is not None and (only is None or only in decoded):
        return decoded
    return {only or "answer": content}


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())
