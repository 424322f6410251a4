"""Pydantic's errors -> problems in the words of the file."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from control.config.problems import Problem, nearest, unknown

KeyPath = tuple[str, ...]
_KINDS: Mapping[type, str] = {str: "text", dict: "a table", list: "a list"}
_IN_QUOTES = re.compile(r"'([^']+)'")
_SAFE_TO_SHOW = (bool, int, float)


def key_path(item: Mapping[str, Any]) -> KeyPath:
    """The key of the file that an error is about."""
    # "[key]" marks a name of a table; a number is a place in a list, which is one value to us.
    return tuple(part for part in item["loc"] if isinstance(part, str) and part != "[key]")


def dotted(path: KeyPath) -> str:
    """As it is written in TOML."""
    return ".".join(map(_quoted, path))


def problems_of(error: ValidationError, model: type[BaseModel], file: str) -> Iterator[Problem]:
    """One problem for each error, in the file's order."""
    seen: set[tuple[str, str]] = set()
    for item in error.errors(include_url=False):
        path = key_path(item)
        key = dotted(path)
        message = _message(item, model, path)
        if (key, message) not in seen:
            seen.add((key, message))
            yield Problem(file=file, key=key, message=message)


def _quoted(part: str) -> str:
    return part if part.replace("-", "").replace("_", "").isalnum() else f'"{part}"'


def _message(item: Mapping[str, Any], model: type[BaseModel], path: KeyPath) -> str:
    kind: str = item["type"]
    if kind == "extra_forbidden":
        return unknown("key", path[-1], _known(model, path[:-1]))
    if kind == "missing":
        return "missing; add it"
    if kind == "literal_error":
        return f"must be one of {item['ctx']['expected']}{_got(item)}"
    make = _WORDS.get(kind)
    if make is not None:
        return make(item.get("ctx", {})) + _got(item)
    return str(item["msg"])


def _got(item: Mapping[str, Any]) -> str:
    value = item.get("input")
    if isinstance(value, _SAFE_TO_SHOW):
        return f", not {str(value).lower() if isinstance(value, bool) else value}"
    if isinstance(value, str) and item["type"] == "literal_error":
        near = nearest(value, _IN_QUOTES.findall(item["ctx"]["expected"]))
        return near or f', not "{value}"'
    kind = _KINDS.get(type(value)) if item["type"].endswith("_type") else None
    return f", not {kind}" if kind else ""


_WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "bool_type": lambda _: "must be true or false",
    "int_type": lambda _: "must be a whole number",
    "int_from_float": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "finite_number": lambda _: "must be a finite number",
    "string_type": lambda _: "must be text in quotes",
    "string_too_short": lambda _: "must not be empty",
    "list_type": lambda _: "must be a list",
    "dict_type": lambda _: "must be a table",
    "model_type": lambda _: "must be a table",
    "model_attributes_type": lambda _: "must be a table",
    "greater_than": lambda c: f"must be greater than {c['gt']:g}",
    "greater_than_equal": lambda c: f"must be at least {c['ge']:g}",
    "less_than": lambda c: f"must be less than {c['lt']:g}",
    "less_than_equal": lambda c: f"must be at most {c['le']:g}",
    "too_short": lambda c: f"must have at least {c['min_length']} items",
    "too_long": lambda c: f"must have at most {c['max_length']} items",
}


def _known(model: type[BaseModel], path: KeyPath) -> list[str]:
    """The keys of the section at ``path``."""
    at: Any = model
    for part in path:
        at = _section_of(at, part)
    return list(at.model_fields) if isinstance(at, type) and issubclass(at, BaseModel) else []


def _section_of(annotation: Any, part: str) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _plain(annotation.model_fields[part].annotation)
    if typing.get_origin(annotation) is dict:
        return _plain(typing.get_args(annotation)[1])
    return annotation


def _plain(annotation: Any) -> Any:
    """Without ``Annotated`` and ``| None``."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _plain(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        parts = [part for part in typing.get_args(annotation) if part is not type(None)]
        return _plain(parts[0])
    return annotation
