"""Fine-tuning jobs that survive a crash at any point.

A job's row is in the store before anything is asked, and each id is stored as soon as it is known.
Our key travels in the job's metadata and is searched for before a job is created, so that there is
exactly one. `tick` keeps no state; a network error never means that a job has failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any

import msgspec

from distiller.artefact import Adapter
from distiller.dataset.rows import RenderError, TrainingFiles
from distiller.fine_tuning import FineTuning, JobRequest, TrainerRefused
from traces.store import Store

FINAL = frozenset({"succeeded", "failed", "cancelled"})
#: events that are searched for how far a job is
_EVENTS = 10

#: renders and returns the files of a job; called only while they are not uploaded
Files = Callable[[Adapter], Awaitable[TrainingFiles]]


class JobSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a job is asked with."""

    adapter: Adapter
    #: output fields that the student does not write; known once the rows are rendered
    drop: tuple[str, ...] = ()
    #: False: there is nothing to validate on, and the service refuses an empty file
    validated: bool = True
    hyperparameters: dict[str, int | float] = {}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One fine-tuning job, as the store has it."""

    job_id: str
    route: str
    predictor: str
    dataset_id: str
    distillation_id: str
    #: the base model that the service is asked for: classifier, embedded, ...
    trainer: str
    job_key: str
    #: new, then OpenAI's: validating_files, queued, running, succeeded, failed, cancelled
    status: str
    file_id: str | None = None
    validation_file_id: str | None = None
    provider_job_id: str | None = None
    fine_tuned_model: str | None = None
    error: str | None = None
    #: 0..1; None: the service does not say
    progress: float | None = None
    #: `JobSettings` as JSON text
    settings: str
    #: when it was opened, Unix seconds
    ts: float

    @property
    def asked_with(self) -> JobSettings:
        """The settings, decoded."""
        return msgspec.json.decode(self.settings, type=JobSettings)

    @property
    def final(self) -> bool:
        """Nothing more will happen to it."""
        return self.status in FINAL

    @property
    def uploaded(self) -> bool:
        """The service has all its rows."""
        if self.file_id is None:
            return False
        return self.validation_file_id is not None or not self.asked_with.validated


def open_job(
    store: Store,
    *,
    distillation_id: str,
    route: str,
    predictor: str,
    dataset_id: str,
    trainer: str,
    settings: JobSettings,
    now: float,
) -> None:
    """Write the row of a job, before anybody is asked for it."""
    identity = "\x1f".join([distillation_id, dataset_id, predictor, trainer])
    key = sha256(identity.encode()).hexdigest()
    store.run(
        "open_job",
        job_id=f"j-{key[:12]}",
        now_us=round(now * 1e6),
        route=route,
        predictor=predictor,
        dataset_id=dataset_id,
        distillation_id=distillation_id,
        trainer=trainer,
        job_key=key[:32],
        settings=_encode(settings),
    )


def jobs_of(store: Store, distillation_id: str) -> list[Job]:
    """The jobs of a distillation, oldest first."""
    return store.all("jobs_of_distillation", Job, distillation_id=distillation_id)


def recent_jobs(store: Store, route: str | None = None, *, at_most: int = 50) -> list[Job]:
    """The newest jobs of a route, or of all routes."""
    return store.all("recent_jobs", Job, route=route, at_most=at_most)


async def tick(store: Store, service: FineTuning, job: Job, files: Files, *, now: float) -> Job:
    """Bring a job as far as it goes now: upload, create, or ask how it stands.

    Raises `TrainerUnavailable`; the job is then as far as it came, and the next tick goes on.
    """
    if job.final:
        return job
    try:
        if job.provider_job_id is None:
            job = await _submit(store, service, job, files, now=now)
        return await _poll(store, service, job, now=now)
    except (TrainerRefused, RenderError) as error:
        # What became known before the refusal is in the store.
        reached = await asyncio.to_thread(store.one, "job", Job, job_id=job.job_id)
        return await fail(store, reached or job, str(error), now=now)


async def fail(store: Store, job: Job, reason: str, *, now: float) -> Job:
    """End a job with a reason of our own."""
    return await _keep(store, job, now, status="failed", error=reason)


async def _submit(store: Store, service: FineTuning, job: Job, files: Files, *, now: float) -> Job:
    if not job.uploaded:
        content = await files(job.asked_with.adapter)
        settings = msgspec.structs.replace(
            job.asked_with, drop=content.drop, validated=bool(content.validation)
        )
        job = await _keep(store, job, now, settings=_encode(settings))
        if job.file_id is None:
            file_id = await service.upload(f"{job.job_id}-train.jsonl", content.train)
            job = await _keep(store, job, now, file_id=file_id)
        if not job.uploaded:
            file_id = await service.upload(f"{job.job_id}-validation.jsonl", content.validation)
            job = await _keep(store, job, now, validation_file_id=file_id)
    seen = await service.find(job.job_key) or await service.create(_request(job))
    return await _keep(store, job, now, provider_job_id=seen.provider_job_id, status=seen.status)


async def _poll(store: Store, service: FineTuning, job: Job, *, now: float) -> Job:
    seen = await service.retrieve(job.provider_job_id or "")
    progress = 1.0 if seen.status == "succeeded" else job.progress
    if seen.status not in FINAL:
        progress = await _progress(service, job)
    error = seen.error
    if seen.status in ("failed", "cancelled"):
        error = error or f"the trainer reports the job as {seen.status}"
    return await _keep(
        store,
        job,
        now,
        status=seen.status,
        progress=progress,
        fine_tuned_model=seen.fine_tuned_model,
        error=error,
    )


async def _progress(service: FineTuning, job: Job) -> float | None:
    """Steps done over steps planned, from the newest event that knows both."""
    for event in reversed(await service.events(job.provider_job_id or "", limit=_EVENTS)):
        step, total = event.data.get("step"), event.data.get("total")
        if isinstance(step, int) and isinstance(total, int) and total > 0:
            return min(1.0, step / total)
    return job.progress


def _request(job: Job) -> JobRequest:
    asked = job.asked_with
    return JobRequest(
        model=job.trainer,
        training_file=job.file_id or "",
        validation_file=job.validation_file_id,
        suffix=job.job_id,
        hyperparameters=asked.hyperparameters,
        metadata={
            "job_key": job.job_key,
            "route": job.route,
            "predictor": job.predictor,
            "adapter": asked.adapter,
        },
    )


async def _keep(store: Store, job: Job, now: float, **known: Any) -> Job:
    """Store what became known, if anything did."""
    changed = msgspec.structs.replace(job, **known)
    if changed != job:
        await asyncio.to_thread(
            store.run,
            "update_job",
            job_id=changed.job_id,
            status=changed.status,
            file_id=changed.file_id,
            validation_file_id=changed.validation_file_id,
            provider_job_id=changed.provider_job_id,
            fine_tuned_model=changed.fine_tuned_model,
            error=changed.error,
            progress=changed.progress,
            settings=changed.settings,
            now_us=round(now * 1e6),
        )
    return changed


def _encode(settings: JobSettings) -> str:
    return msgspec.json.encode(settings, order="sorted").decode()
