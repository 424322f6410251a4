from __future__ import annotations

import json

import pytest

from gateway.foreign_error import is_json, told


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        (b"application/json", b"whatever it is", True),
        (b"Application/JSON; charset=utf-8", b"{}", True),
        (b"application/problem+json", b"{}", True),
        (b"", b' {"error": "no type"}', True),
        (b"", b"403", False),
        (b"", b"\xff", False),
        (b"", b"", False),
        (b"text/html", b"{}", False),
    ],
)
def test_what_is_json(content_type: bytes, body: bytes, expected: bool) -> None:
    assert is_json(content_type, body) is expected


def _message(body: bytes, *, encoded: bool = False) -> str:
    text = told(body, upstream="upstream 'up'", status=403, encoded=encoded, request_id="r")
    error = json.loads(text)["error"]
    assert (error["type"], error["code"], error["request_id"]) == (
        "upstream_error",
        "http_403",
        "r",
    )
    message: str = error["message"]
    return message


def test_the_upstreams_text_is_told() -> None:
    start = "upstream 'up' answered with status 403"
    assert (
        _message(b"<h1>\n  Not in\tyour region </h1>\n")
        == f"{start}: <h1> Not in your region </h1>"
    )
    assert _message(b"") == start
    assert _message(b"\x1f\x8b\x08", encoded=True) == start
    assert _message(b"x" * 100_000) == f"{start}: {'x' * 500}"
    assert _message(b"a\xff") == f"{start}: a\ufffd"
