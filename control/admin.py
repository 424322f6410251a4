"""The admin API on loopback. Only paths, keys and status codes here; the work is `Operations`'."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import msgspec
from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field

from control.errors import BadInput, ControlError, Refused, UnknownRoute
from control.operations import Operations, StaleReport

_log = logging.getLogger("limbeck.control")
PREFIX = "/admin/v1"
#: what a person may order a route to do, besides approve and distill
Order = Literal["rollback", "kill", "unkill", "pause", "resume", "retry", "extend", "reject"]
_MEDIA = {
    "json": "application/json",
    "md": "text/markdown; charset=utf-8",
    "html": "text/html; charset=utf-8",
}
#: the first kind that fits decides
_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (UnknownRoute, 404),
    (BadInput, 400),
    (StaleReport, 412),
    (Refused, 409),
    (ControlError, 500),
)
_STATUS_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    500: "server_error",
}


RouteName = Annotated[str, Path(min_length=1)]


class OrderBody(BaseModel):
    """Who orders something, and why."""

    model_config = ConfigDict(extra="forbid")
    actor: str = Field(default="admin", min_length=1, max_length=200)
    reason: str = Field(default="", max_length=2_000)
    #: of the student; None: the one that the order makes sense for
    student: str | None = None


class ApprovalBody(BaseModel):
    """A person's consent to one report, named by its hash."""

    model_config = ConfigDict(extra="forbid")
    report: str
    actor: str = Field(default="admin", min_length=1, max_length=200)
    reason: str = Field(default="", max_length=2_000)


class DistillBody(BaseModel):
    """Distil now."""

    model_config = ConfigDict(extra="forbid")
    trainer: Literal["auto", "classifier", "embedded"] | None = None
    actor: str = Field(default="admin", min_length=1, max_length=200)


def admin_app(operations: Operations, *, key: str) -> FastAPI:
    """Build the API. ``key``: what every request must bear, health apart."""
    app = FastAPI(title="limbeck admin", docs_url=None, redoc_url=None, openapi_url=None)
    expected = f"Bearer {key}".encode()

    @app.middleware("http")
    async def authorise(
        request: Request, proceed: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        given = request.headers.get("authorization", "").encode()
        if request.url.path != "/healthz" and not hmac.compare_digest(given, expected):
            return _error(401, "the admin key is missing or wrong: it is in the data folder")
        try:
            return await proceed(request)
        except Exception as error:
            where = f"{request.method} {request.url.path}"
            _log.exception("%s failed", where)
            return _error(
                500, f"{where}: {type(error).__name__}: {error}; control's log says where"
            )

    @app.exception_handler(ControlError)
    async def refused(_: Request, error: Exception) -> Response:
        status = next(status for kind, status in _STATUSES if isinstance(error, kind))
        return _error(status, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        problems = "; ".join(
            f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()
        )
        return _error(400, problems)

    @app.exception_handler(404)
    async def unknown(request: Request, _: Exception) -> Response:
        return _error(404, f"{request.method} {request.url.path} is not part of the admin API")

    _add_paths(app, operations)
    return app


def _add_paths(app: FastAPI, operations: Operations) -> None:
    @app.get("/healthz")
    async def healthz() -> Response:
        return _json({"ok": True})

    @app.get(f"{PREFIX}/status")
    async def status() -> Response:
        return _json(await asyncio.to_thread(operations.status))

    @app.get(f"{PREFIX}/jobs")
    async def jobs(route: str | None = None) -> Response:
        return _json(await asyncio.to_thread(operations.jobs, route))

    @app.get(f"{PREFIX}/traces")
    async def traces(
        route: str | None = None,
        served_by: Literal["teacher", "student"] | None = None,
        trace_id: str | None = None,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 20,
    ) -> Response:
        found = await asyncio.to_thread(
            operations.traces,
            route=route,
            served_by=served_by,
            trace_id=trace_id,
            limit=limit,
        )
        return _json(found)

    @app.get(f"{PREFIX}/routes/{{route}}/report")
    async def report(
        route: RouteName,
        format: Literal["json", "md", "html"] = "json",
        student: str | None = None,
    ) -> Response:
        made = await asyncio.to_thread(operations.report, route, student)
        content = {"json": made.json, "md": made.markdown, "html": made.html}[format]
        return Response(
            content, media_type=_MEDIA[format], headers={"x-limbeck-report": made.sha256}
        )

    @app.post(f"{PREFIX}/routes/{{route}}:approve")
    async def approve(route: RouteName, body: ApprovalBody) -> Response:
        done = await asyncio.to_thread(
            operations.approve, route, report=body.report, actor=body.actor, reason=body.reason
        )
        return _json(done)

    @app.post(f"{PREFIX}/routes/{{route}}:distill")
    async def distill(route: RouteName, body: DistillBody | None = None) -> Response:
        wanted = body or DistillBody()
        return _json(await asyncio.to_thread(operations.distil, route, trainer=wanted.trainer))

    @app.post(f"{PREFIX}/routes/{{route}}:{{order}}")
    async def order(route: RouteName, order: Order, body: OrderBody | None = None) -> Response:
        given = body or OrderBody()
        done = await asyncio.to_thread(
            operations.order,
            route,
            order,
            actor=given.actor,
            reason=given.reason,
            student=given.student,
        )
        return _json(done)


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _error(status: int, message: str) -> Response:
    body = {
        "error": {
            "message": message,
            "type": _STATUS_TYPES.get(status, "invalid_request_error"),
            "param": None,
            "code": None,
        }
    }
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json")
