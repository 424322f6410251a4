"""The body of ``POST /v1/fine_tuning/jobs``, checked."""

from __future__ import annotations

from typing import Any, cast, get_args

import msgspec

from distiller.artefact import Adapter
from distiller.http import ApiError
from distiller.trainer.available import BASES
from distiller.trainer.hyperparameters import BadHyperparameter, Hyperparameters, parse
from distiller.trainer.job_folder import Base

_ADAPTERS = get_args(Adapter)
_LONGEST_SUFFIX = 64
_MOST_METADATA = 16
_LARGEST_SEED = 2**31 - 1


class JobRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asked for."""

    base: Base
    training_file: str
    validation_file: str | None
    suffix: str | None
    #: None: the service chooses
    seed: int | None
    metadata: dict[str, str]
    hyperparameters: Hyperparameters
    adapter: Adapter


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    """As sent. Unknown keys are those of a newer API: ignored."""

    model: str
    training_file: str
    validation_file: str | None = None
    suffix: str | None = None
    seed: int | None = None
    metadata: dict[str, str] | None = None
    method: dict[str, Any] | None = None
    #: deprecated by OpenAI, still sent by dspy
    hyperparameters: dict[str, Any] | None = None
    integrations: list[Any] | None = None


def parse_job_request(body: bytes) -> JobRequest:
    """Read and check a body. Raises `ApiError` 400 that names the parameter."""
    try:
        sent = msgspec.json.decode(body, type=_Body)
    except msgspec.MsgspecError as error:
        raise ApiError(400, f"the body is no fine-tuning job: {error}") from None
    if sent.integrations:
        raise ApiError(400, "integrations are not supported", param="integrations")
    if sent.suffix is not None and len(sent.suffix) > _LONGEST_SUFFIX:
        raise ApiError(400, f"suffix is longer than {_LONGEST_SUFFIX} characters", param="suffix")
    if sent.seed is not None and not 0 <= sent.seed <= _LARGEST_SEED:
        raise ApiError(400, f"seed must be within 0..{_LARGEST_SEED}", param="seed")
    metadata = sent.metadata or {}
    return JobRequest(
        base=_base(sent.model),
        training_file=sent.training_file,
        validation_file=sent.validation_file,
        suffix=sent.suffix,
        seed=sent.seed,
        metadata=_metadata(metadata),
        hyperparameters=_hyperparameters(sent),
        adapter=_adapter(metadata.get("adapter", "plain")),
    )


def _base(model: str) -> Base:
    if model not in BASES:
        known = ", ".join(repr(base) for base in BASES)
        raise ApiError(
            400,
            f"base model {model!r} is unknown; this service trains {known}",
            code="model_not_found",
            param="model",
        )
    return model


def _adapter(name: str) -> Adapter:
    if name not in _ADAPTERS:
        raise ApiError(
            400,
            f"metadata.adapter must be one of {', '.join(_ADAPTERS)}, not {name!r}",
            param="metadata.adapter",
        )
    return cast("Adapter", name)


def _metadata(metadata: dict[str, str]) -> dict[str, str]:
    too_long = [k for k, v in metadata.items() if len(k) > 64 or len(v) > 512]
    if too_long or len(metadata) > _MOST_METADATA:
        raise ApiError(
            400,
            f"metadata takes {_MOST_METADATA} keys of 64 characters, with values of 512",
            param="metadata",
        )
    return metadata


def _hyperparameters(sent: _Body) -> Hyperparameters:
    method = sent.method or {"type": "supervised"}
    if method.get("type") != "supervised":
        raise ApiError(
            400, f"method.type {method.get('type')!r} is unknown: use 'supervised'", param="method"
        )
    supervised = method.get("supervised") or {}
    values = supervised.get("hyperparameters") if isinstance(supervised, dict) else None
    try:
        return parse(values or sent.hyperparameters or {})
    except BadHyperparameter as error:
        raise ApiError(400, str(error), param="hyperparameters") from None
