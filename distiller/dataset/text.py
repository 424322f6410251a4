"""When two inputs are the same: normal form, canonical JSON and hashes.

Only inputs are compared, never rendered prompts: a shared instruction makes all prompts alike.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec

from traces.chat import last_user_text, text_of
from traces.inputs import normalise

_PUNCTUATION = ".,;:!?\u2026\u3002\u3001\uff0c\uff01\uff1f"
#: "top-up" is "top up", but 3-2 is not 3 2
_HYPHEN = re.compile(r"(?<=[^\W\d_])[-\u2010](?=[^\W\d_])")
#: quotes and brackets: what stands around words
_AROUND = "()[]{}\u00bf\u00a1\"'\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb\u2039\u203a"
#: a line in at least this share of the texts is part of a template
_CONSTANT_SHARE = 0.9
#: shorter lines are too little to call them a template
_CONSTANT_LENGTH = 12
#: fewer texts say nothing about what is constant
_CONSTANT_TEXTS = 20


class _Request(msgspec.Struct):
    messages: list[dict[str, Any]] = []


_encode = msgspec.json.Encoder(order="sorted").encode


def bare(text: str) -> str:
    """Normalised, without what stands around words, punctuation behind them and hyphens in them.

    Signs and symbols stay ("-5", "2*3", "C#", "!valid"), as does a text of punctuation alone.
    """
    # A phone types another apostrophe than a desk does.
    normalised = normalise(text).replace("\u2019", "'")
    words = _HYPHEN.sub(" ", normalised).split()
    stripped = (word.lstrip(_AROUND).rstrip(_AROUND + _PUNCTUATION) for word in words)
    return " ".join(word for word in stripped if word) or normalised


def canonical(value: Any) -> bytes:
    """JSON with sorted keys: equal values give equal bytes."""
    return _encode(value)


def digest(value: Any) -> str:
    """Hex sha256 of the canonical JSON."""
    return sha256(canonical(value)).hexdigest()


def flatten(value: Any) -> str:
    """A value as one text: strings as they are, anything else as canonical JSON."""
    return value if isinstance(value, str) else canonical(value).decode()


def inputs_key(inputs: dict[str, Any]) -> str:
    """Hash of a predictor's inputs, texts normalised: what "the same input" means."""
    return digest({k: bare(v) if isinstance(v, str) else v for k, v in inputs.items()})


def messages_key(messages: Sequence[dict[str, Any]]) -> str:
    """Hash of the normalised messages; another system prompt makes another input."""
    return digest([[m.get("role"), bare(text_of(m.get("content")))] for m in messages])


def messages_of(request: str) -> list[dict[str, Any]]:
    """The messages of a recorded request body."""
    return msgspec.json.decode(request, type=_Request).messages


def plain_inputs(messages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a plain route's predictor is given: the text that the student server will read."""
    return {"text": last_user_text(messages)}


def user_text(messages: Sequence[dict[str, Any]]) -> str:
    """What the user wrote, without instructions and answers."""
    return "\n".join(text_of(m.get("content")) for m in messages if m.get("role") == "user")


def without_template(texts: Sequence[str]) -> list[str]:
    """The texts without what nearly all of them share.

    Drops lines that are constant over the texts, then the prefix and suffix common to all. What
    is left compares inputs, not the application's template.
    """
    if len(texts) < _CONSTANT_TEXTS:
        return list(texts)
    seen = Counter(line for text in texts for line in set(text.splitlines()))
    least = _CONSTANT_SHARE * len(texts)
    constant = {
        line for line, n in seen.items() if n >= least and len(line.strip()) > _CONSTANT_LENGTH
    }
    if constant:
        texts = ["\n".join(x for x in text.splitlines() if x not in constant) for text in texts]
    prefix = _shared(texts)
    texts = [text[prefix:] for text in texts]
    suffix = _shared([text[::-1] for text in texts])
    return [text[: len(text) - suffix] for text in texts]


def _shared(texts: Sequence[str]) -> int:
    """Length of the prefix that all texts share: that of the first and the last by order."""
    first, last = min(texts), max(texts)
    differing = (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return next(differing, min(len(first), len(last)))
