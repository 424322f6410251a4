"""The request's headers: what limbeck is asked for, and what passes on to the upstream.

An unknown name or value among our own headers is refused: a client must never believe that it
opted out when it did not.
"""

from __future__ import annotations

import difflib
import hashlib
import re

import msgspec

from gateway.errors import Refusal
from gateway.exchange import Headers

_CONVERSATION = (b"x-limbeck-session-id", b"x-limbeck-episode-id")
#: others send it too, for ends of their own
_FOREIGN_CONVERSATION = b"x-session-id"
_OURS = frozenset(
    {
        b"x-limbeck-session-id",
        b"x-limbeck-episode-id",
        b"x-limbeck-pin",
        b"x-limbeck-no-log",
        b"x-limbeck-no-shadow",
        b"x-limbeck-timeout-ms",
        b"x-limbeck-tags",
    }
)
#: pass on to the upstream as they came
_PASSED_ON = frozenset(
    {b"x-client-request-id", b"traceparent", b"tracestate", b"idempotency-key", b"openai-beta"}
)
_READ = (
    _OURS
    | _PASSED_ON
    | {
        b"authorization",
        b"x-api-key",
        b"content-length",
        b"x-request-id",
        _FOREIGN_CONVERSATION,
        b"x-stainless-retry-count",
    }
)
_FLAGS = {b"true": True, b"1": True, b"false": False, b"0": False}
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_STUDENT_ID = re.compile(r"s\d+-[0-9a-f]+")
_MAX_TEXT = 512
MAX_TIMEOUT_MS = 24 * 3_600_000


class RequestHeaders(msgspec.Struct, frozen=True, kw_only=True):
    """The headers of one request that mean something to the gateway."""

    #: the client's key, without ``Bearer``
    api_key: bytes | None = None
    request_id: bytes | None = None
    conversation: str | None = None
    #: teacher, student, or a student's id
    pin: str | None = None
    no_log: bool = False
    no_shadow: bool = False
    #: the client's bound for the whole request, seconds
    timeout_s: float | None = None
    tags: str | None = None
    #: the client's SDK repeats a request
    retry: bool = False
    #: of the body; 0 if its head does not say it
    content_length: int = 0
    #: complete header lines for the upstream
    passed_on: bytes = b""


def read_headers(headers: Headers) -> RequestHeaders:
    """Read the headers (names in lower case); raise `Refusal` (400) for a wrong one of ours."""
    found: dict[bytes, bytes] = {}
    ours = False
    for name, value in headers:
        if name in _READ:
            found[name] = value
            ours = ours or name in _OURS
        elif name.startswith(b"x-limbeck-"):
            raise _unknown(name)
    passed_on = b""
    for name in found.keys() & _PASSED_ON:
        passed_on += b"%s: %s\r\n" % (name, found[name])
    request_id = found.get(b"x-request-id")
    if request_id is not None and not _REQUEST_ID.fullmatch(request_id):
        request_id = None
    common = RequestHeaders(
        api_key=_api_key(found),
        request_id=request_id,
        retry=found.get(b"x-stainless-retry-count", b"0") != b"0",
        content_length=int(found.get(b"content-length", b"0")),
        passed_on=passed_on,
    )
    if not ours and _FOREIGN_CONVERSATION not in found:
        return common
    return msgspec.structs.replace(
        common,
        conversation=_first_text(found, _CONVERSATION) or _foreign_conversation(found),
        pin=_pin(found),
        no_log=_flag(found, b"x-limbeck-no-log"),
        no_shadow=_flag(found, b"x-limbeck-no-shadow"),
        timeout_s=_timeout_s(found),
        tags=_first_text(found, (b"x-limbeck-tags",)),
    )


def _api_key(found: dict[bytes, bytes]) -> bytes | None:
    authorization = found.get(b"authorization")
    if authorization is None:
        return found.get(b"x-api-key")
    scheme, _, key = authorization.partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else b""


def _flag(found: dict[bytes, bytes], name: bytes) -> bool:
    value = found.get(name)
    if value is None:
        return False
    flag = _FLAGS.get(value.strip().lower())
    if flag is None:
        raise _wrong(name, value, "use true or false")
    return flag


def is_student_id(text: str) -> bool:
    """Whether ``text`` has the form of a student's id, such as ``s7-3fa2``."""
    return _STUDENT_ID.fullmatch(text) is not None


def _pin(found: dict[bytes, bytes]) -> str | None:
    value = found.get(b"x-limbeck-pin")
    if value is None:
        return None
    pin = value.decode("latin-1").strip()
    if pin not in ("teacher", "student") and not is_student_id(pin):
        raise _wrong(b"x-limbeck-pin", value, "use teacher, student, or a student's id (s7-3fa2)")
    return pin


def _timeout_s(found: dict[bytes, bytes]) -> float | None:
    value = found.get(b"x-limbeck-timeout-ms")
    if value is None:
        return None
    text = value.strip()
    if not text.isdigit() or not 0 < len(text) < 10 or not 0 < int(text) <= MAX_TIMEOUT_MS:
        raise _wrong(b"x-limbeck-timeout-ms", value, f"use whole milliseconds, 1..{MAX_TIMEOUT_MS}")
    return int(text) / 1000


def _first_text(found: dict[bytes, bytes], names: tuple[bytes, ...]) -> str | None:
    for name in names:
        value = found.get(name)
        if value is None:
            continue
        text = value.decode("utf-8", "replace").strip()
        if not text or len(text) > _MAX_TEXT:
            raise _wrong(name, value, f"use 1 to {_MAX_TEXT} characters")
        return text
    return None


def _foreign_conversation(found: dict[bytes, bytes]) -> str | None:
    """Return an id that is not ours to refuse: an empty one is none, a long one is hashed."""
    value = found.get(_FOREIGN_CONVERSATION, b"").strip()
    if len(value) > _MAX_TEXT:
        return hashlib.blake2b(value, digest_size=16).hexdigest()
    return value.decode("utf-8", "replace") or None


def _wrong(name: bytes, value: bytes, repair: str) -> Refusal:
    header = name.decode("latin-1")
    shown = value[:80].decode("latin-1")
    return Refusal(
        400, f"Header {header}: {shown!r} is not known; {repair}.", param=header, code="bad_header"
    )


def _unknown(name: bytes) -> Refusal:
    header = name.decode("latin-1")
    known = sorted(ours.decode() for ours in _OURS)
    near = difflib.get_close_matches(header, known, n=1, cutoff=0.0)
    return Refusal(
        400,
        f"Header {header} is not one of limbeck's; the nearest is {near[0]}.",
        param=header,
        code="bad_header",
    )
