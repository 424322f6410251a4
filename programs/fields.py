"""What Python types say about the fields of a program. Pure, and knows nothing of dspy."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

import pydantic

from programs.description import OutputField
from programs.errors import BadInputs

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_SCALARS = (str, int, float, bool, type(None))


def output_field(annotation: object) -> OutputField:
    """Describe an output by its annotation."""
    return OutputField(type=type_name(annotation), closed=closed_values(annotation))


def type_name(annotation: object) -> str:
    """Short and stable, for people: ``str``, ``list[str]``, ``Literal['a', 'b']``."""
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    return _ADDRESS.sub("", str(annotation)).replace("typing.", "")


def closed_values(annotation: object) -> tuple[str | int | float | bool | None, ...] | None:
    """Return all values that the type allows, or None where they are not declared."""
    if annotation is bool:
        return (False, True)
    if get_origin(annotation) is Literal:
        values = get_args(annotation)
    elif isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        values = tuple(member.value for member in annotation)
    else:
        return None
    return values if all(isinstance(value, _SCALARS) for value in values) else None


def type_schema(annotation: Any) -> object:
    """Return all that a prompt may show of the type, for hashing."""
    try:
        return pydantic.TypeAdapter(annotation).json_schema()
    except Exception:  # not every annotation has a schema
        return type_name(annotation)


def converter(name: str, annotation: Any) -> Callable[[Any], Any]:
    """Return a function from a JSON value to the type of the input; it raises `BadInputs`."""
    try:
        adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(annotation)
    except Exception:  # a type of the user's own that pydantic does not know
        return lambda value: value

    def convert(value: Any) -> Any:
        try:
            return adapter.validate_python(value)
        except pydantic.ValidationError as error:
            problem = error.errors(include_url=False)[0]["msg"]
            wanted = type_name(annotation)
            raise BadInputs(f"input `{name}` must be {wanted}: {problem}") from error

    return convert
