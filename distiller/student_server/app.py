"""The student server: chat completions from trained predictors, named ``ROUTE.PREDICTOR@ID``.

Whatever is no usable answer becomes an error status before the first byte, with its kind in the
header ``x-limbeck-error``, so that the gateway falls back to the teacher without reading a body.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from distiller.artefact import ArtefactError
from distiller.extras import MissingExtra
from distiller.http import (
    ApiError,
    RequireKey,
    bind,
    read_key,
    serve_until_stopped,
    shape_errors,
)
from distiller.skeleton import stale_reason
from distiller.student_server.answer import Answer, Declined, Stale, Unusable
from distiller.student_server.completion import Shape, completion, events
from distiller.student_server.library import Library, UnknownModel
from distiller.student_server.metrics import Metrics
from distiller.student_server.pool import Pool
from distiller.student_server.request import ChatRequest, parse_chat_request
from distiller.student_server.settings import StudentServerSettings
from programs.json_values import is_json

__all__ = ["StudentServerSettings", "serve"]

_DRAIN_S = 10
_ERROR_HEADER = "x-limbeck-error"
_DEADLINE_HEADER = "x-limbeck-deadline-ms"


def serve(settings: StudentServerSettings) -> None:
    """Serve until SIGTERM. Raises `CannotServe` without a key or if the address is taken."""
    # Before numpy loads: a prediction is far too small to share between threads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    key = read_key(settings.api_key_env)
    listener = bind(settings.host, settings.port)
    serve_until_stopped(RequireKey(_build(settings), key=key), listener, drain_s=_DRAIN_S)


def _build(settings: StudentServerSettings) -> FastAPI:
    library = Library(settings.students, threads=settings.threads)
    pool = Pool(threads=settings.threads, queue=settings.queue)
    metrics = Metrics(library, pool)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(pool.close)
        library.close()

    app = FastAPI(title="limbeck student server", lifespan=lifespan, docs_url=None, redoc_url=None)
    shape_errors(app, unexpected_headers={_ERROR_HEADER: "error"})
    app.include_router(_reading_routes(library, metrics))
    app.include_router(_answering_routes(library, pool, metrics))
    return app


def _reading_routes(library: Library, metrics: Metrics) -> APIRouter:
    routes = APIRouter()

    @routes.get("/healthz")
    async def healthz() -> Shape:
        return {"ok": True}

    @routes.get("/metrics")
    async def show_metrics() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @routes.get("/v1/models")
    async def models() -> Shape:
        names = await asyncio.to_thread(lambda: list(library.names()))
        data = [{"id": n, "object": "model", "created": 0, "owned_by": "limbeck"} for n in names]
        return {"object": "list", "data": data}

    return routes


def _answering_routes(library: Library, pool: Pool, metrics: Metrics) -> APIRouter:
    routes = APIRouter()

    @routes.post("/v1/chat/completions")
    async def chat_completions(http: Request) -> Response:
        try:
            request = parse_chat_request(await http.body())
            answer = await pool.run(
                lambda: _answer(library, request),
                deadline_s=_deadline_s(http),
            )
        except (Declined, ArtefactError, MissingExtra) as error:
            refusal = _api_error(error)
            metrics.count(refusal.status)
            raise refusal from None
        metrics.count(200)
        return _respond(request, answer)

    return routes


def _answer(library: Library, request: ChatRequest) -> Answer:
    """Runs in an inference thread, as loading a model takes a while too."""
    model = library.get(request.model)
    if reason := stale_reason(model.manifest.skeleton, request.question.messages):
        raise Stale(f"{request.model} is stale: {reason}")
    answer = model.answer(request.question)
    if request.as_json and not is_json(answer.text):
        raise Unusable("response_format asks for JSON, and the answer is no JSON object or list")
    return answer


def _respond(request: ChatRequest, answer: Answer) -> Response:
    if request.stream:
        return StreamingResponse(events(request, answer), media_type="text/event-stream")
    return JSONResponse(completion(request, answer))


def _api_error(error: Declined | ArtefactError | MissingExtra) -> ApiError:
    if isinstance(error, Declined):
        status, kind = error.status, error.kind
    elif isinstance(error, UnknownModel):
        status, kind = 404, "unknown_model"
    else:
        status, kind = 500, "error"
    return ApiError(status, str(error), code=kind, headers={_ERROR_HEADER: kind})


def _deadline_s(http: Request) -> float | None:
    text = http.headers.get(_DEADLINE_HEADER, "")
    return int(text) / 1000 if text.isdigit() else None
