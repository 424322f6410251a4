"""What two requests have in common: normalised inputs, their hash, and a user's hash. Pure."""

from __future__ import annotations

import hmac
import unicodedata
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

_HASH_BYTES = 16
_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder().decode


def normalise(text: str) -> str:
    """Return text without the differences that mean nothing: Unicode form, case, white space."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def inputs_hash(inputs: str | Mapping[str, Any] | Sequence[str]) -> str:
    """Return the hash of normalised inputs (32 hex digits): what deduplication and splits go by.

    Inputs are a text, several texts (the user's messages of a conversation, in order), or a
    program's fields; a text that holds a JSON object counts as the fields, in any order. Hash
    inputs, never rendered prompts: those change with every demonstration.
    """
    if isinstance(inputs, str):
        inputs = [inputs]
    if isinstance(inputs, Sequence):
        fields = _fields(inputs[0]) if len(inputs) == 1 else None
        inputs = fields if fields is not None else {"\0texts": list(inputs)}
    return blake2b(_encode(_normalised(inputs)), digest_size=_HASH_BYTES).hexdigest()


def user_hash(user: str, key: bytes) -> str:
    """Return the HMAC of a user's name (32 hex digits); dropping the key severs identity."""
    return hmac.digest(key, user.encode(errors="surrogatepass"), "sha256").hex()[:32]


def _fields(text: str) -> dict[str, Any] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = _decode(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _normalised(value: Any) -> Any:
    if isinstance(value, str):
        return normalise(value)
    if isinstance(value, Mapping):
        return {key: _normalised(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_normalised(item) for item in value]
    return value
