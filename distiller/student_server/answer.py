"""What a served model gives back, and the ways in which it can decline.

Declined
├── Stale       412: the prompt is not the one that the student was trained with
├── Unusable    502: it answered, but not in a form that the caller can use
└── BadInputs   400: the request lacks what the model reads
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import msgspec

from distiller.artefact import Manifest
from distiller.chat import Message
from distiller.errors import DistillerError


class Token(msgspec.Struct, frozen=True):
    """One token of an answer, for ``logprobs``."""

    text: str
    logprob: float


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is asked."""

    messages: Sequence[Message]
    #: the predictor's inputs, where the program host sent them beside the messages
    inputs: Mapping[str, Any] | None
    #: the caller's limit on tokens of the answer
    max_tokens: int | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A usable answer."""

    text: str
    tokens: tuple[Token, ...]
    prompt_tokens: int
    completion_tokens: int


class ServedModel(Protocol):
    """One loaded predictor. ``answer`` is called from several threads, ``close`` after the last."""

    manifest: Manifest

    def answer(self, question: Question) -> Answer: ...

    def close(self) -> None: ...


class Declined(DistillerError):
    """The model gives no answer; the teacher should."""

    status: ClassVar[int]
    #: value of the header x-limbeck-error
    kind: ClassVar[str]


class Stale(Declined):
    status = 412
    kind = "stale"


class Unusable(Declined):
    status = 502
    kind = "unusable"


class BadInputs(Declined):
    status = 400
    kind = "bad_inputs"
