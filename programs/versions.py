"""The parts of a program version: all that shapes a program's prompts and answers, as JSON values.

Knows signatures by their shape only; dspy itself stays in `programs.dspy_compat`.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from programs.description import PredictorFields
from programs.fields import output_field, type_schema
from programs.json_values import json_safe

#: settings of an LM that say where it is and who we are, not what it answers
_CONNECTION = {"api_key", "api_base", "base_url", "headers", "extra_headers", "timeout"}


class Field(Protocol):
    """A field of a signature (a pydantic field)."""

    @property
    def annotation(self) -> object: ...
    @property
    def json_schema_extra(self) -> Any: ...
    def is_required(self) -> bool: ...


class Signature(Protocol):
    """What a prompt is made from."""

    @property
    def instructions(self) -> str: ...
    @property
    def input_fields(self) -> Mapping[str, Field]: ...
    @property
    def output_fields(self) -> Mapping[str, Field]: ...


class Predictor(Protocol):
    """One predictor of a program."""

    @property
    def signature(self) -> Signature: ...
    @property
    def demos(self) -> Iterable[Mapping[str, object]]: ...
    @property
    def config(self) -> Mapping[str, object]: ...
    @property
    def lm(self) -> Any: ...


class Tool(Protocol):
    """A function that a program may call."""

    @property
    def name(self) -> str: ...
    @property
    def desc(self) -> str: ...
    @property
    def args(self) -> object: ...


def version_of(body: Mapping[str, object]) -> str:
    """Return the program version: 16 hex digits of the hash of ``body``."""
    return sha256(msgspec.json.encode(body, order="deterministic"))[:16]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def signature_body(signature: Signature) -> dict[str, object]:
    """Return the instructions and, of each field, its name, type and description."""
    return {
        "instructions": signature.instructions,
        "inputs": [_field_body(*item) for item in signature.input_fields.items()],
        "outputs": [_field_body(*item) for item in signature.output_fields.items()],
    }


def predictor_body(predictor: Predictor) -> dict[str, object]:
    """Return a predictor's signature, demos, settings and, if it has one of its own, its LM."""
    lm = predictor.lm
    return {
        **signature_body(predictor.signature),
        "demos": json_safe([dict(demo) for demo in predictor.demos]),
        "config": json_safe(predictor.config),
        "lm": lm_body(lm.model, lm.kwargs) if lm else None,
    }


def tool_body(tool: Tool) -> dict[str, object]:
    return {"name": tool.name, "desc": tool.desc, "args": json_safe(tool.args)}


def predictor_fields(signature: Signature) -> PredictorFields:
    """Describe one predictor."""
    outputs = {name: output_field(f.annotation) for name, f in signature.output_fields.items()}
    return PredictorFields(
        inputs=tuple(signature.input_fields), outputs=outputs, has_reasoning="reasoning" in outputs
    )


def lm_body(model: str, options: Mapping[str, object]) -> dict[str, object]:
    """Return the model and its parameters, without address and key."""
    kept = {name: value for name, value in options.items() if name not in _CONNECTION}
    return {"model": model, "options": json_safe(kept)}


def options_body(thing: object) -> dict[str, object]:
    """Return class and plain settings of an object (an adapter)."""
    kept = {k: v for k, v in vars(thing).items() if isinstance(v, str | int | float | bool)}
    return {"class": type(thing).__qualname__, "options": json_safe(kept)}


def code_body(objects: Iterable[Callable[..., object]], *, but: str) -> dict[str, str]:
    """Return the hash of the source of each class or function, blind to comments and layout.

    What belongs to the package ``but`` is left out.
    """
    found: dict[str, str] = {}
    for thing in objects:
        if thing.__module__.split(".")[0] == but:
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
        except (OSError, TypeError, SyntaxError):
            continue  # compiled, or made at run time: its name is all there is
        found[thing.__qualname__] = sha256(ast.dump(tree).encode())
    return found


def _field_body(name: str, field: Field) -> dict[str, object]:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    shown = {
        key: json_safe(extra[key]) for key in ("desc", "prefix", "constraints") if key in extra
    }
    return {"name": name, "type": type_schema(field.annotation), **shown}
