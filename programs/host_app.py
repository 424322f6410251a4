"""The HTTP side of a program host: one program behind OpenAI's chat completions.

Every failure is an error status before the first byte, and recording never fails a request.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response

from programs.answer import HIDDEN, Message, message_of, wants_json
from programs.bounded_runs import BoundedRuns
from programs.completion import completion, error_body, events
from programs.dspy_compat import Program
from programs.errors import (
    BadInputs,
    HostError,
    LoadError,
    ModelUnavailable,
    ProgramFailed,
    Unauthorized,
)
from programs.inputs import inputs_of
from programs.recording import Recording
from programs.runs import call_frame
from programs.served import Served, ServedPrograms
from programs.settings import HostSettings
from traces.record import pack
from traces.spool import Recorder

_JSON = "application/json"
_log = logging.getLogger("limbeck.program_host")


class HostApp:
    """Answers requests for the programs of one host."""

    def __init__(
        self, settings: HostSettings, programs: ServedPrograms, recorder: Recorder, *, key: str
    ) -> None:
        self._settings = settings
        self._programs = programs
        self._recorder = recorder
        self._key = key
        self._warned = False
        self._runs = BoundedRuns(settings.concurrency)

    def asgi(self) -> FastAPI:
        """Return the application."""
        app = FastAPI(lifespan=self._lifespan, openapi_url=None)
        app.get("/healthz")(self._healthy)
        app.get("/v1/models")(self._guarded(self._models))
        app.get("/v1/program")(self._guarded(self._program))
        app.post("/v1/chat/completions")(self._guarded(self._chat))
        return app

    @asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        # dspy makes several hops to this pool for each asynchronous LM call.
        with ThreadPoolExecutor(self._settings.concurrency) as pool:
            asyncio.get_running_loop().set_default_executor(pool)
            yield
        self._recorder.close()

    def _guarded(
        self, answer: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Ask for the internal key, and turn errors into statuses."""

        async def handle(request: Request) -> Response:
            try:
                self._check_key(request)
                return await answer(request)
            except HostError as error:
                return _refusal(error, request)
            except LoadError as error:
                _log.error("%s", error)
                return _refusal(ProgramFailed(str(error)), request)

        return handle

    def _check_key(self, request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._key.encode()):
            raise Unauthorized(
                "this server takes requests of limbeck's own processes only: the internal key "
                "(LIMBECK_INTERNAL_KEY) is missing or wrong"
            )

    async def _healthy(self) -> Response:
        if self._runs.hung:
            return Response(b'{"ok":false}', 503, media_type=_JSON)
        return Response(b'{"ok":true}', media_type=_JSON)

    async def _models(self, _request: Request) -> Response:
        models = [{"id": name, "object": "model"} for name in self._programs.models()]
        return Response(msgspec.json.encode({"object": "list", "data": models}), media_type=_JSON)

    async def _program(self, _request: Request) -> Response:
        return Response(msgspec.json.encode(self._programs.main().description), media_type=_JSON)

    async def _chat(self, request: Request) -> Response:
        deadline = _deadline(request)
        body = _body(await request.body())
        served = await self._programs.get(body["model"])
        inputs = self._inputs(body, served.program)
        recording = Recording()
        try:
            outputs = await self._runs.run(served.program, inputs, recording, deadline)
            message = message_of(outputs, as_json=wants_json(body))
            self._warn_of_threads(served.program, recording)
        except HostError as error:
            if isinstance(error, ProgramFailed):
                _log.error("%s: %s", body["model"], error, exc_info=error.__cause__)
            elif isinstance(error, ModelUnavailable):
                _log.warning("%s: %s", body["model"], error)
            tools_ran = recording.tools_ran or error.tools_may_run
            return _refusal(error, request, tools_ran=tools_ran)
        finally:
            self._record(request.headers.get("x-limbeck-inference-id"), served, recording)
        return _answer(body, message, recording)

    def _inputs(self, body: Mapping[str, Any], program: Program) -> dict[str, Any]:
        described = program.description
        public = [name for name in described.output_fields if name not in HIDDEN]
        return program.convert(
            inputs_of(
                body,
                described.input_fields,
                system=self._settings.system,
                answer_field=public[0] if len(public) == 1 else "answer",
            )
        )

    def _warn_of_threads(self, program: Program, recording: Recording) -> None:
        if recording.spans or self._warned or not program.description.predictors:
            return
        self._warned = True
        _log.warning(
            "the program of %s answered without a predictor call that could be seen, so nothing "
            "can be learnt from it: in threads of your own use dspy.Parallel, or run the work in "
            "contextvars.copy_context()",
            self._settings.route,
        )

    def _record(self, trace_id: str | None, served: Served, recording: Recording) -> None:
        """Write the predictor calls of a request that is kept. Raises nothing."""
        recording.close()
        if trace_id is None:
            return
        try:
            for span in recording.spans:
                frame = call_frame(
                    span,
                    trace_id=trace_id,
                    route=self._settings.route,
                    version=served.program_version,
                    side=served.side,
                )
                self._recorder.record(pack(frame), frame.ts_us)
        except Exception:
            _log.exception("the predictor calls of %s could not be recorded", trace_id)


def _body(raw: bytes) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadInputs(f"the body is no JSON: {error}") from error
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise BadInputs('the body must be a JSON object with a "model"')
    return body


def _deadline(request: Request) -> float | None:
    """Return the event loop's time of the deadline; the header holds the milliseconds left."""
    left = request.headers.get("x-limbeck-deadline-ms")
    if left is None:
        return None
    try:
        return asyncio.get_running_loop().time() + float(left) / 1000
    except ValueError as error:
        raise BadInputs(f"x-limbeck-deadline-ms must be a number, not {left!r}") from error


def _answer(body: Mapping[str, Any], message: Message, recording: Recording) -> Response:
    head: dict[str, Any] = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "created": int(time.time()),
        "model": body["model"],
        "message": message,
    }
    if not body.get("stream"):
        return Response(completion(**head, usage=recording.usage), media_type=_JSON)
    options = body.get("stream_options")
    wanted = isinstance(options, dict) and options.get("include_usage")
    stream = events(**head, usage=recording.usage if wanted else None)
    return Response(stream, media_type="text/event-stream")


def _refusal(error: HostError, request: Request, *, tools_ran: bool = False) -> Response:
    return Response(
        error_body(error, request_id=request.headers.get("x-limbeck-inference-id")),
        error.status,
        {"x-limbeck-error": error.kind, "x-limbeck-tools-ran": str(int(tools_ran))},
        media_type=_JSON,
    )
