"""What limbeck asks of a fine-tuning service, over the ``openai`` SDK: any endpoint of that shape.

Two answers end a request: `TrainerRefused` (asking again brings the same) and `TrainerUnavailable`
(ask again later). The second never means that a job has failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import httpx
import msgspec
import openai
from openai import AsyncOpenAI
from openai.types.fine_tuning import FineTuningJob
from openai.types.fine_tuning.job_create_params import Method

from distiller.errors import DistillerError

#: seconds; an answer that takes longer is asked for again at the next tick
_TIMEOUT_S = 60.0
_PAGE = 100
_SEED = 1
_PERMANENT = frozenset({400, 404, 409, 413, 415, 422})


class TrainerRefused(DistillerError):
    """The fine-tuning service does not take what it was asked for."""


class TrainerUnavailable(DistillerError):
    """The fine-tuning service can't be asked just now."""


class JobRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A job to create."""

    #: the base model: classifier, embedded, ...
    model: str
    training_file: str
    #: None: the service holds rows out by itself
    validation_file: str | None
    suffix: str
    hyperparameters: dict[str, int | float]
    metadata: dict[str, str]


class JobSeen(msgspec.Struct, frozen=True, kw_only=True):
    """How a job stands at the service."""

    provider_job_id: str
    #: validating_files, queued, running, succeeded, failed, cancelled
    status: str
    fine_tuned_model: str | None = None
    error: str | None = None


class JobEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a job's event stream."""

    event_id: str
    #: Unix seconds
    ts: float
    #: info, warn or error
    level: str
    message: str
    #: step, total, loss, eta_s ... as far as the service tells
    data: dict[str, Any]


class FineTuning:
    """One fine-tuning service."""

    def __init__(self, client: AsyncOpenAI) -> None:
        # Retries of the SDK would hide from us that a job may have been created already.
        self._client = client.with_options(max_retries=0, timeout=_TIMEOUT_S)

    @classmethod
    def local(cls, base_url: str, api_key: str) -> FineTuning:
        """Our own trainer: loopback or a private address, never through a proxy."""
        http = httpx.AsyncClient(trust_env=False)
        return cls(AsyncOpenAI(base_url=base_url, api_key=api_key, http_client=http))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def offered(self) -> tuple[str, ...]:
        """The base models that the service names."""
        with _failures():
            page = await self._client.models.list()
        return tuple(model.id for model in page.data)

    async def upload(self, name: str, content: bytes) -> str:
        """Upload a file of rows; returns its id."""
        with _failures():
            uploaded = await self._client.files.create(file=(name, content), purpose="fine-tune")
        return uploaded.id

    async def find(self, key: str) -> JobSeen | None:
        """The job that carries our key. Services that ignore the filter are searched by pages."""
        with _failures():
            pages = self._client.fine_tuning.jobs.list(limit=_PAGE, metadata={"job_key": key})
            async for found in pages:
                if (found.metadata or {}).get("job_key") == key:
                    return _seen(found)
        return None

    async def create(self, request: JobRequest) -> JobSeen:
        """Create a job. Search for its key first: an answer may have been lost before."""
        # The SDK's type knows OpenAI's hyperparameters; our trainer takes more.
        hyperparameters = {"hyperparameters": request.hyperparameters}
        method = cast(Method, {"type": "supervised", "supervised": hyperparameters})
        with _failures():
            created = await self._client.fine_tuning.jobs.create(
                model=request.model,
                training_file=request.training_file,
                validation_file=request.validation_file or openai.omit,
                seed=_SEED,
                suffix=request.suffix,
                metadata=request.metadata,
                method=method,
            )
        return _seen(created)

    async def retrieve(self, provider_job_id: str) -> JobSeen:
        """How a job stands."""
        with _failures():
            return _seen(await self._client.fine_tuning.jobs.retrieve(provider_job_id))

    async def events(self, provider_job_id: str, *, limit: int = 20) -> list[JobEvent]:
        """The newest events of a job, oldest first."""
        with _failures():
            page = await self._client.fine_tuning.jobs.list_events(provider_job_id, limit=limit)
        return [
            JobEvent(
                event_id=event.id,
                ts=float(event.created_at),
                level=event.level,
                message=event.message,
                data=event.data if isinstance(event.data, dict) else {},
            )
            for event in reversed(page.data)
        ]


def _seen(job: FineTuningJob) -> JobSeen:
    error = job.error.message if job.error is not None else None
    return JobSeen(
        provider_job_id=job.id,
        status=job.status,
        fine_tuned_model=job.fine_tuned_model,
        error=error or None,
    )


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except openai.APIStatusError as error:
        body = error.body
        said = body.get("message") if isinstance(body, dict) else None
        message = f"the trainer answers {error.status_code}: {said or error.message}"
        if error.status_code in _PERMANENT:
            raise TrainerRefused(message) from error
        hint = " (check its key)" if error.status_code in (401, 403) else ""
        raise TrainerUnavailable(message + hint) from error
    except openai.OpenAIError as error:
        raise TrainerUnavailable(f"the trainer can't be reached: {error}") from error
