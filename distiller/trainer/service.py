"""The fine-tuning service: ``/v1/files`` and ``/v1/fine_tuning/jobs`` in OpenAI's shape.

State is files only, so that a restart of the service loses nothing. Jobs queue; one runs at a time.
"""

from __future__ import annotations

import asyncio
import fcntl
import random
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Annotated

from fastapi import APIRouter, FastAPI, File, Form, Query, Request, UploadFile
from msgspec.structs import asdict

from distiller.extras import MissingExtra
from distiller.http import (
    ApiError,
    CannotServe,
    RequireKey,
    bind,
    read_key,
    serve_until_stopped,
    shape_errors,
)
from distiller.trainer.available import available_trainers, check_available
from distiller.trainer.files import FileStore
from distiller.trainer.job_folder import Job
from distiller.trainer.jobs import JobStore, new_job_id
from distiller.trainer.request import JobRequest, parse_job_request
from distiller.trainer.runner import Runner, default_command
from distiller.trainer.settings import TrainerSettings
from distiller.trainer.shapes import (
    Shape,
    checkpoint_shapes,
    event_shapes,
    job_shape,
    list_shape,
    page,
)

__all__ = ["TrainerSettings", "serve"]

#: a cancelled worker ends at its next step; clients like to see the result at once
_CANCEL_WAIT_S = 3.0
_DRAIN_S = 5
_METADATA_FILTER = re.compile(r"metadata\[(.+)\]")

Limit = Annotated[int, Query(ge=1, le=100)]


def serve(settings: TrainerSettings) -> None:
    """Serve until SIGTERM. Raises `CannotServe` without a key, or if address or folder is taken."""
    key = read_key(settings.api_key_env)
    with _own(settings.folder):
        listener = bind(settings.host, settings.port)
        app = RequireKey(_build(settings), key=key)
        serve_until_stopped(app, listener, drain_s=_DRAIN_S)


def _own(folder: Path) -> IO[bytes]:
    """Hold the folder: two services would run its jobs twice."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / "service.lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise CannotServe(f"another training service works in {folder}") from None
    return lock


def _build(settings: TrainerSettings) -> FastAPI:
    files = FileStore(settings.folder / "files")
    jobs = JobStore(settings.folder / "jobs", files)
    runner = Runner(
        jobs,
        command=settings.worker_command or default_command(),
        secret=settings.api_key_env,
        kill_after_s=settings.kill_after_s,
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(runner.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    app = FastAPI(title="limbeck trainer", lifespan=lifespan, docs_url=None, redoc_url=None)
    shape_errors(app)
    app.include_router(_file_routes(files))
    app.include_router(_job_routes(settings, jobs, runner))
    app.include_router(_reading_routes(jobs))
    return app


def _file_routes(files: FileStore) -> APIRouter:
    routes = APIRouter()

    @routes.get("/healthz")
    async def healthz() -> Shape:
        return {"ok": True}

    @routes.get("/v1/models")
    async def models() -> Shape:
        bases = [
            {"id": base, "object": "model", "created": 0, "owned_by": "limbeck"}
            for base in available_trainers()
        ]
        return list_shape(bases, has_more=False)

    @routes.post("/v1/files")
    async def upload(file: Annotated[UploadFile, File()], purpose: Annotated[str, Form()]) -> Shape:
        name = file.filename or "upload.jsonl"
        stored = await asyncio.to_thread(files.add, file.file, filename=name, purpose=purpose)
        return asdict(stored)

    @routes.get("/v1/files/{file_id}")
    async def get_file(file_id: str) -> Shape:
        return asdict(files.get(file_id))

    @routes.delete("/v1/files/{file_id}")
    async def delete_file(file_id: str) -> Shape:
        return asdict(files.delete(file_id))

    return routes


def _job_routes(settings: TrainerSettings, jobs: JobStore, runner: Runner) -> APIRouter:
    routes = APIRouter(prefix="/v1/fine_tuning/jobs")

    @routes.post("")
    async def create(request: Request) -> Shape:
        asked = parse_job_request(await request.body())
        try:
            check_available(asked.base)
        except MissingExtra as missing:
            raise ApiError(400, str(missing), code="missing_extra", param="model") from None
        job = _job(asked, settings)
        await asyncio.to_thread(jobs.create, job)
        runner.wake()
        return job_shape(jobs.get(job.id))

    @routes.post("/{job_id}/cancel")
    async def cancel(job_id: str) -> Shape:
        status = jobs.get(job_id).status
        if status in ("succeeded", "failed"):
            raise ApiError(400, f"job {job_id} has {status} already", code="job_finished")
        runner.cancel(jobs.folder(job_id))
        deadline = time.monotonic() + _CANCEL_WAIT_S
        while jobs.get(job_id).status != "cancelled" and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        return job_shape(jobs.get(job_id))

    return routes


def _reading_routes(jobs: JobStore) -> APIRouter:
    routes = APIRouter(prefix="/v1/fine_tuning/jobs")

    @routes.get("")
    async def list_jobs(request: Request, after: str | None = None, limit: Limit = 20) -> Shape:
        wanted = {
            match[1]: value
            for name, value in request.query_params.items()
            if (match := _METADATA_FILTER.fullmatch(name))
        }
        found = await asyncio.to_thread(jobs.newest_first, metadata=wanted)
        shown, more = page(found, id_of=lambda job: job.id, after=after, limit=limit)
        return list_shape([job_shape(jobs.get(job.id)) for job in shown], has_more=more)

    @routes.get("/{job_id}")
    async def get_job(job_id: str) -> Shape:
        return job_shape(jobs.get(job_id))

    @routes.get("/{job_id}/events")
    async def list_events(job_id: str, after: str | None = None, limit: Limit = 20) -> Shape:
        return _page_of(event_shapes(jobs.get(job_id)), after=after, limit=limit)

    @routes.get("/{job_id}/checkpoints")
    async def list_checkpoints(job_id: str, after: str | None = None, limit: Limit = 10) -> Shape:
        return _page_of(checkpoint_shapes(jobs.get(job_id)), after=after, limit=limit)

    return routes


def _page_of(items: list[Shape], *, after: str | None, limit: int) -> Shape:
    shown, more = page(items, id_of=lambda item: str(item["id"]), after=after, limit=limit)
    return list_shape(shown, has_more=more)


def _job(asked: JobRequest, settings: TrainerSettings) -> Job:
    return Job(
        id=new_job_id(),
        created=time.time(),
        base=asked.base,
        training_file=asked.training_file,
        validation_file=asked.validation_file,
        seed=random.getrandbits(31) if asked.seed is None else asked.seed,
        suffix=asked.suffix,
        metadata=asked.metadata,
        hyperparameters=asked.hyperparameters,
        adapter=asked.adapter,
        limit_s=settings.job_limit_s,
        memory_mb=settings.worker_memory_mb,
    )
