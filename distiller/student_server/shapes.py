"""The forms in which an answer is written: the text itself, JSON, or DSPy's ChatAdapter.

Shared with the embedded trainer, so that what is trained is what is checked.
"""

from __future__ import annotations

import json
import math
import re

from distiller.artefact import Adapter

#: stands in an answer where the calibrated probability is filled in
PLACEHOLDER = "<|confidence|>"
#: the one field of a plain answer
PLAIN_FIELD = "answer"

_HEADER = re.compile(r"^\[\[ ## (\w+) ## \]\][ \t]*$", re.MULTILINE)
_END_FIELD = "completed"


def parse_answer(text: str, adapter: Adapter) -> dict[str, str]:
    """Return the fields of an answer as text. Raises `ValueError` if it has not that form."""
    if not text.strip():
        raise ValueError("the answer is empty")
    if adapter == "plain":
        return {PLAIN_FIELD: text}
    return _parse_json(text) if adapter == "json" else _parse_chat(text)


def with_placeholder(text: str, field: str, adapter: Adapter) -> str:
    """Return an answer with the value of ``field`` replaced by the placeholder."""
    if adapter == "chat":
        pattern = rf"(\[\[ ## {re.escape(field)} ## \]\]\n)(.*?)(?=\n+\[\[ ## |\s*\Z)"
        return re.sub(pattern, lambda match: match[1] + PLACEHOLDER, text, flags=re.DOTALL)
    values = json.loads(text)
    values[field] = PLACEHOLDER
    return json.dumps(values, ensure_ascii=False).replace(f'"{PLACEHOLDER}"', PLACEHOLDER)


def fill_placeholder(text: str, probability: float) -> str:
    return text.replace(PLACEHOLDER, f"{probability:.4f}")


def logit(probability: float) -> float:
    """Return log-odds, bounded at a probability of a millionth from 0 and 1."""
    p = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(p / (1 - p))


def _parse_json(text: str) -> dict[str, str]:
    values = json.loads(text.replace(PLACEHOLDER, "null"))
    if not isinstance(values, dict) or not values:
        raise ValueError("the answer is no JSON object with fields")
    return {name: v if isinstance(v, str) else json.dumps(v) for name, v in values.items()}


def _parse_chat(text: str) -> dict[str, str]:
    headers = list(_HEADER.finditer(text))
    ends = [*(match.start() for match in headers[1:]), len(text)]
    fields = (
        {
            match[1]: text[match.end() : end].strip()
            for match, end in zip(headers, ends, strict=True)
            if match[1] != _END_FIELD
        }
        if headers
        else {}
    )
    if not fields:
        raise ValueError("the answer has no '[[ ## field ## ]]' section")
    return fields
