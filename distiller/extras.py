"""Optional parts of the installation. One place builds the message for what is missing."""

from __future__ import annotations

import importlib.util
from typing import Literal

from distiller.errors import DistillerError

Extra = Literal["serve", "train"]

_PACKAGES: dict[Extra, tuple[str, ...]] = {
    "serve": ("ctranslate2", "tokenizers"),
    "train": ("torch", "transformers", "trl", "datasets", "accelerate", "ctranslate2"),
}


class MissingExtra(DistillerError):
    """An optional dependency is not installed."""


def missing_packages(extra: Extra) -> tuple[str, ...]:
    """Return the packages of ``extra`` that are not installed here. Imports none of them."""
    return tuple(name for name in _PACKAGES[extra] if importlib.util.find_spec(name) is None)


def require(extra: Extra, *, what: str) -> None:
    """Raise `MissingExtra` unless the packages of ``extra`` are installed."""
    if missing := missing_packages(extra):
        raise MissingExtra(
            f"{what} needs limbeck[{extra}]: not installed here: {', '.join(missing)}. "
            f"Install with: pip install 'limbeck[{extra}]'"
        )
