from __future__ import annotations

import pytest

from gateway.errors import Refusal
from gateway.request_headers import read_headers


def test_our_headers_are_read() -> None:
    headers = read_headers(
        [
            (b"authorization", b"Bearer sk-1"),
            (b"x-limbeck-session-id", b"session 7"),
            (b"x-limbeck-pin", b"s7-3fa2"),
            (b"x-limbeck-no-log", b"true"),
            (b"x-limbeck-no-shadow", b"0"),
            (b"x-limbeck-timeout-ms", b"1500"),
            (b"x-limbeck-tags", b"team=a"),
            (b"x-request-id", b"req-1"),
            (b"traceparent", b"00-aa-bb-01"),
            (b"x-stainless-retry-count", b"1"),
            (b"accept", b"*/*"),
        ]
    )
    assert headers.api_key == b"sk-1"
    assert headers.conversation == "session 7"
    assert headers.pin == "s7-3fa2"
    assert headers.no_log is True
    assert headers.no_shadow is False
    assert headers.timeout_s == 1.5
    assert headers.tags == "team=a"
    assert headers.request_id == b"req-1"
    assert headers.retry is True
    assert headers.passed_on == b"traceparent: 00-aa-bb-01\r\n"


def test_the_key_may_come_in_the_other_header() -> None:
    assert read_headers([(b"x-api-key", b"sk-2")]).api_key == b"sk-2"
    assert read_headers([(b"authorization", b"Basic abc")]).api_key == b""
    assert read_headers([]).api_key is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-limbeck-no-log", b"yes please"),
        (b"x-limbeck-no-log", b""),
        (b"x-limbeck-no-shadow", b"2"),
        (b"x-limbeck-pin", b"somebody"),
        (b"x-limbeck-timeout-ms", b"-1"),
        (b"x-limbeck-timeout-ms", b"1.5"),
        (b"x-limbeck-timeout-ms", b"0"),
        (b"x-limbeck-timeout-ms", b"99999999999"),
        (b"x-limbeck-session-id", b""),
        (b"x-limbeck-tags", b"x" * 600),
    ],
)
def test_an_unknown_value_is_refused(name: bytes, value: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        read_headers([(name, value)])
    assert caught.value.status == 400
    assert caught.value.param == name.decode()
    assert name.decode() in caught.value.message


def test_a_session_id_that_is_not_ours_is_never_refused() -> None:
    def conversation(value: bytes) -> str | None:
        return read_headers([(b"x-session-id", value)]).conversation

    assert conversation(b"session 7") == "session 7"
    assert conversation(b"") is None
    assert conversation(b" ") is None
    hashed = conversation(b"x" * 600)
    assert hashed is not None and len(hashed) == 32
    assert hashed == conversation(b"x" * 600) != conversation(b"x" * 601)
    both = [(b"x-session-id", b""), (b"x-limbeck-session-id", b"ours")]
    assert read_headers(both).conversation == "ours"


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(Refusal, match="the nearest is x-limbeck-no-log"):
        read_headers([(b"x-limbeck-nolog", b"true")])


def test_an_unprintable_request_id_is_not_taken_over() -> None:
    assert read_headers([(b"x-request-id", b"a b")]).request_id is None
    assert read_headers([(b"x-request-id", b"x" * 200)]).request_id is None
