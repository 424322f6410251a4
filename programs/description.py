"""What a program takes and gives, as the program host tells control (``GET /v1/program``)."""

from __future__ import annotations

from typing import Any

import msgspec


class InputField(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One input of a program."""

    type: str = "str"
    required: bool = True
    #: takes the earlier turns of a conversation (`dspy.History`)
    history: bool = False


class OutputField(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One output of a program or predictor."""

    type: str = "str"
    #: all values that the type allows (Literal, enum, bool); None: not declared
    closed: tuple[str | int | float | bool | None, ...] | None = None


class PredictorFields(msgspec.Struct, frozen=True, kw_only=True):
    """One predictor, by its name in the program."""

    inputs: tuple[str, ...]
    outputs: dict[str, OutputField]
    #: it has the output ``reasoning``, which small students drop
    has_reasoning: bool


class ProgramDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One loaded program."""

    #: hash of ``body``
    program_version: str
    input_fields: dict[str, InputField]
    #: empty: not known (a module of the user's own with several predictors and no ``signature``)
    output_fields: dict[str, OutputField]
    predictors: dict[str, PredictorFields]
    #: all that shapes the program's prompts and answers
    body: dict[str, Any]
