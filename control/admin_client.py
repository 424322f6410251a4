"""The command line's side of the admin API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TypeVar

import httpx
import msgspec

from control.addresses import load_addresses
from control.errors import BadInput, ControlError, ControlUnreachable, Refused
from control.layout import Layout
from control.secrets import load_secrets

T = TypeVar("T")
_CONNECT_S = 2.0
#: a report over many pairs takes seconds
ANSWER_S = 30.0
_ATTEMPTS = 5
_ERRORS: Mapping[int, type[ControlError]] = {
    400: BadInput,
    404: BadInput,
    409: Refused,
    412: Refused,
}


class AdminClient:
    """Talks to the control process of one data folder.

    Every call raises `ControlUnreachable` without an answer, `BadInput` for what control does not
    know, `Refused` for a precondition that does not hold, and `ControlError` for the rest.
    """

    def __init__(self, layout: Layout, *, answer_s: float = ANSWER_S) -> None:
        self._answer_s = answer_s
        self._url = load_addresses(layout.addresses).admin.url
        self._client = httpx.Client(
            base_url=f"{self._url}/admin/v1",
            headers={"authorization": f"Bearer {load_secrets(layout.secrets).admin_key}"},
            timeout=httpx.Timeout(answer_s, connect=_CONNECT_S),
            # Loopback: a proxy from the environment has no business here.
            trust_env=False,
        )

    def get(self, path: str, kind: type[T], **params: str | int | None) -> T:
        """GET ``path`` as a value of ``kind``; parameters that are None are left out."""
        return self._decode(self._send("GET", path, params=_given(**params)).content, kind)

    def report(self, route: str, kind: type[T], *, student: str | None = None) -> tuple[str, T]:
        """Hash and body of a route's current report."""
        response = self._send("GET", f"/routes/{route}/report", params=_given(student=student))
        return response.headers["x-limbeck-report"], self._decode(response.content, kind)

    def report_forms(
        self, route: str, forms: Sequence[str], *, student: str | None = None
    ) -> tuple[str, dict[str, bytes]]:
        """Hash of a route's current report, and the report in each of ``forms``."""
        for _ in range(_ATTEMPTS):
            answers = {
                form: self._send(
                    "GET",
                    f"/routes/{route}/report",
                    params=_given(format=form, student=student),
                )
                for form in forms
            }
            hashes = {answer.headers["x-limbeck-report"] for answer in answers.values()}
            if len(hashes) == 1:
                return hashes.pop(), {form: answer.content for form, answer in answers.items()}
        raise ControlError(
            f"{route}: the report changed with each of {_ATTEMPTS} readings: try again"
        )

    def post(self, path: str, kind: type[T], **body: str | None) -> T:
        """POST the fields of ``body`` that are not None."""
        return self._decode(self._send("POST", path, body=_given(**body)).content, kind)

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> AdminClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Mapping[str, str | int] | None = None,
    ) -> httpx.Response:
        try:
            response = self._client.request(method, path, params=params, json=body)
        except httpx.ReadTimeout as error:
            raise ControlUnreachable(
                f"control at {self._url} took the request and is silent for {self._answer_s:g} s: "
                "is it stopped? Its log is logs/control.log in the data folder. "
                "`limbeck rollback` and `limbeck kill` work without it"
            ) from error
        except httpx.HTTPError as error:
            raise ControlUnreachable(
                f"control does not answer at {self._url} ({type(error).__name__}): start it with "
                "`limbeck up`. `limbeck rollback` and `limbeck kill` work without it"
            ) from error
        if response.is_success:
            return response
        kind = _ERRORS.get(response.status_code, ControlError)
        raise kind(_message(response))

    def _decode(self, content: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.MsgspecError as error:
            raise ControlError(
                f"control at {self._url} answers in another form ({error}): the command and the "
                "running limbeck are of different versions"
            ) from error


def _given(**values: str | int | None) -> dict[str, str | int]:
    return {key: value for key, value in values.items() if value is not None}


class _ErrorBody(msgspec.Struct, frozen=True):
    message: str


class _Error(msgspec.Struct, frozen=True):
    error: _ErrorBody


def _message(response: httpx.Response) -> str:
    try:
        return msgspec.json.decode(response.content, type=_Error).error.message
    except msgspec.MsgspecError:
        return f"control answers {response.status_code} {response.reason_phrase}"
