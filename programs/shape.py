"""What a program's module takes and gives: from its signature, else from its forward method.

Knows modules by their shape only; dspy itself stays in `programs.dspy_compat`.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from programs.errors import LoadError
from programs.versions import Signature


class Predictor(Protocol):
    """One predictor of a module."""

    @property
    def signature(self) -> Signature: ...


class Module(Protocol):
    """A program, or a part of one."""

    def predictors(self) -> Sequence[Predictor]: ...


@dataclass(frozen=True, kw_only=True)
class Input:
    """One input of a module."""

    annotation: Any
    required: bool


def defines(module: Module, method: str) -> bool:
    return any(method in vars(cls) for cls in type(module).__mro__)


def inputs_of_module(module: Module) -> dict[str, Input]:
    """Return the inputs by name. Raises `LoadError` for a module that takes none by name."""
    signature = signature_of(module)
    if signature is not None:
        return {
            name: Input(annotation=field.annotation, required=field.is_required())
            for name, field in signature.input_fields.items()
        }
    forward = _forward(module)
    try:
        hints = typing.get_type_hints(forward)
    except Exception:  # names that exist for type checkers only
        hints = {}
    found = {
        one.name: Input(
            annotation=hints.get(one.name, typing.Any), required=one.default is one.empty
        )
        for one in list(inspect.signature(forward).parameters.values())[1:]
        if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
    }
    if not found:
        raise LoadError(
            f"the inputs of {type(module).__name__} are not known: name them as parameters of its "
            f"forward method, or set self.signature to the program's dspy.Signature"
        )
    return found


def signature_of(module: Module) -> Signature | None:
    """Return the signature of the whole module, where it has one."""
    candidates = [getattr(module, "signature", None)]
    forward = _forward(module)
    if forward.__module__.startswith("dspy."):  # such as ChainOfThought
        candidates.append(getattr(getattr(module, "predict", None), "signature", None))
    parameters = inspect.signature(forward).parameters.values()
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        candidates.append(_only_signature(module))
    return next((one for one in candidates if hasattr(one, "input_fields")), None)


def outputs_signature(module: Module) -> Signature | None:
    """Return the signature that has the module's outputs; None: not known."""
    return signature_of(module) or _only_signature(module)


def _only_signature(module: Module) -> Signature | None:
    predictors = module.predictors()
    return predictors[0].signature if len(predictors) == 1 else None


def _forward(module: Module) -> Callable[..., object]:
    """Return the function that takes the inputs, as it is written in its class."""
    for cls in type(module).__mro__:
        for name in ("forward", "aforward"):
            if name in vars(cls):
                found: Callable[..., object] = vars(cls)[name]
                return found
    raise LoadError(f"{type(module).__name__} has no forward method")
