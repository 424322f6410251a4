"""Scores: what a metric may return, and what its arguments look like. Pure."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any

import msgspec


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """One metric value, or why there is none. A metric that fails is never 0."""

    #: 0..1
    value: float | None = None
    #: None: there is a value
    not_scored: str | None = None


class Fields(Mapping[str, Any]):
    """An example or a prediction, as a metric sees it: ``example.text`` or ``example["text"]``."""

    def __init__(self, what: str, values: Mapping[str, Any]) -> None:
        self._what = what
        self._values = dict(values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            known = ", ".join(self._values) or "nothing"
            raise AttributeError(f"{self._what} has no {name!r}; it has {known}") from None

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def keys(self) -> KeysView[str]:
        return self._values.keys()

    def values(self) -> ValuesView[Any]:
        return self._values.values()

    def items(self) -> ItemsView[str, Any]:
        return self._values.items()

    def toDict(self) -> dict[str, Any]:  # the name that dspy.Example has
        return dict(self._values)

    def __repr__(self) -> str:
        return f"{self._what}({self._values!r})"


def call_metric(
    metric: Callable[..., object], example: Mapping[str, Any], prediction: Mapping[str, Any]
) -> Score:
    """Call a metric in the form that it has, and normalise what it returns.

    The forms are ``(example, prediction)``, ``(example, prediction, trace)`` and GEPA's five
    arguments. All but the first two are None: with a trace many metrics turn strict. Raises what
    the metric raises.
    """
    arguments = [Fields("example", example), Fields("prediction", prediction)]
    return normalise(metric(*arguments, *[None] * (_required(metric) - len(arguments))))


def takes_two(metric: Callable[..., object]) -> bool:
    """Whether `call_metric` can call it; True where Python cannot tell."""
    try:
        signature = inspect.signature(metric)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*[None] * max(_required(metric), 2))
    except TypeError:
        return False
    return True


def normalise(returned: object) -> Score:
    """Turn a bool, a number, or a prediction with a ``score`` into a `Score`."""
    value: Any = getattr(returned, "score", returned)
    if isinstance(value, bool):
        return Score(value=float(value))
    if value is None or isinstance(value, str | bytes):
        return _no_number(returned)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return _no_number(returned)
    if not math.isfinite(number):
        return Score(not_scored=f"the metric returned {number}")
    if not 0.0 <= number <= 1.0:
        return Score(not_scored=f"the metric returned {number}: a score lies between 0 and 1")
    return Score(value=number)


def _no_number(returned: object) -> Score:
    what = "None" if returned is None else type(returned).__name__
    return Score(not_scored=f"the metric returned {what}: return a bool, or a number in 0..1")


def _required(metric: Callable[..., object]) -> int:
    """Count the positional arguments without a default; 2 where Python cannot tell."""
    try:
        parameters = inspect.signature(metric).parameters.values()
    except (TypeError, ValueError):
        return 2
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(1 for one in parameters if one.kind in positional and one.default is one.empty)
