"""Everything over HTTP but chat completions: models, feedback, health, metrics. FastAPI."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec
from fastapi import FastAPI, Request, Response
from fastuuid import uuid7
from starlette.exceptions import HTTPException

from gateway.errors import ClientLeft, Refusal
from gateway.exposition import CONTENT_TYPE
from gateway.feedback import check_feedback
from gateway.front import read_body
from gateway.in_force import InForce
from gateway.passage import CLIENT_LEFT
from gateway.refuse import internal_error, no_snapshot, refusal_headers, request_id_of
from gateway.request_headers import read_headers
from traces.record import Feedback

MAX_FEEDBACK_BYTES = 1024 * 1024


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What ``GET /status`` tells a person about one worker."""

    worker: str
    #: ready, draining, no_snapshot
    state: str
    uptime_s: float
    snapshot_version: int
    snapshot_epoch: int
    config_hash: str
    #: False: the snapshot file is broken, every request goes to its teacher
    leased: bool
    routes: tuple[str, ...]
    #: routes with a rollback or kill above the snapshot
    overridden: tuple[str, ...]
    #: open circuit breakers, ROUTE/STUDENT
    breakers: tuple[str, ...]
    open_requests: int
    requests: int
    fallbacks: int
    spool: str


class Service(Protocol):
    """What the endpoints need of a worker."""

    @property
    def in_force(self) -> InForce | None: ...

    def status(self) -> Status: ...

    def metrics(self) -> bytes: ...

    def record_feedback(self, frame: Feedback, body: bytes) -> bool: ...


Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def build_api(service: Service, lifespan: Lifespan) -> FastAPI:
    """Return the FastAPI app of a worker."""
    app = FastAPI(title="limbeck gateway", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_exception_handler(Refusal, _on_refusal)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(ClientLeft, _on_client_left)
    app.add_exception_handler(Exception, _on_exception)
    _add_models(app, service)
    _add_feedback(app, service)
    _add_health(app, service)
    return app


def _add_models(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        in_force, _ = _authenticated(service, request)
        routes = [_model(name) for name in sorted(in_force.snapshot.routes)]
        return _json(request, {"object": "list", "data": routes})

    @app.get("/v1/models/{model:path}")
    async def model(request: Request, model: str) -> Response:
        in_force, _ = _authenticated(service, request)
        in_force.find(model)
        return _json(request, _model(model))


def _add_feedback(app: FastAPI, service: Service) -> None:
    @app.post("/v1/feedback", status_code=202)
    @app.post("/feedback", status_code=202)
    async def feedback(request: Request) -> Response:
        _, key_name = _authenticated(service, request)
        body = await read_body(request.receive, MAX_FEEDBACK_BYTES)
        check_feedback(body)
        frame = Feedback(
            feedback_id=str(uuid7()),
            ts_us=time.time_ns() // 1000,
            key_name=key_name,
            request_len=len(body),
        )
        if not service.record_feedback(frame, body):
            raise Refusal(
                503,
                "The spool is full, so the feedback was not recorded: send it again later.",
                type="overloaded",
                code="spool_full",
            )
        return _json(request, {"feedback_id": frame.feedback_id}, status=202)


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz")
    @app.get("/health/liveness")
    async def alive(request: Request) -> Response:
        return _json(request, {"ok": True})

    @app.get("/readyz")
    @app.get("/health/readiness")
    async def ready(request: Request) -> Response:
        status = service.status()
        answer = {"state": status.state, "spool": status.spool}
        if status.state != "ready":
            return _json(request, answer, status=503)
        if status.spool != "ok":
            answer["state"] = "degraded"
        return _json(request, answer)

    @app.get("/status")
    async def status(request: Request) -> Response:
        return _json(request, service.status())

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        return Response(service.metrics(), media_type=CONTENT_TYPE)


def _authenticated(service: Service, request: Request) -> tuple[InForce, str]:
    in_force = service.in_force
    if in_force is None:
        raise no_snapshot()
    key = in_force.authenticate(read_headers(request.scope["headers"]).api_key)
    return in_force, key.name


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "limbeck"}


def _json(request: Request, value: object, *, status: int = 200) -> Response:
    return Response(
        msgspec.json.encode(value),
        status_code=status,
        media_type="application/json",
        headers={"x-request-id": _request_id(request)},
    )


def _request_id(request: Request) -> str:
    return request_id_of(request.scope["headers"], str(uuid7()))


async def _on_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    request_id = _request_id(request)
    body = error.body(request_id)
    response = Response(body, status_code=error.status)
    response.raw_headers = refusal_headers(error, body, request_id=request_id, elapsed_s=0.0)
    return response


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    where = f"{request.method} {request.url.path}"
    codes = {404: "unknown_url", 405: "method_not_allowed"}
    return await _on_refusal(
        request,
        Refusal(
            error.status_code,
            f"{where}: {error.detail}. The gateway's endpoints are in docs/reference/http-api.md.",
            code=codes.get(error.status_code),
        ),
    )


async def _on_client_left(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_LEFT)  # nobody reads it


async def _on_exception(request: Request, error: Exception) -> Response:
    return await _on_refusal(request, internal_error())
