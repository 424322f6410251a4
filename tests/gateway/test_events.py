from __future__ import annotations

import pytest

from gateway.events import WholeEvents, is_done

STREAM = b'data: {"a": 1}\n\n: comment\n\ndata: {"b": "\xc3\xbc"}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 1000])
def test_only_whole_events_go_out(end: bytes, size: int) -> None:
    stream = STREAM.replace(b"\n\n", end)
    events, out = WholeEvents(), b""
    for at in range(0, len(stream), size):
        whole = events.take(stream[at : at + size])
        assert not whole or whole.endswith(end)
        out += whole
    assert out == stream
    assert events.rest == b""


def test_an_event_goes_out_as_soon_as_it_is_whole() -> None:
    events = WholeEvents()
    assert events.take(b"data: 1\n\ndata: 2\n") == b"data: 1\n\n"
    assert events.rest == b"data: 2\n"
    assert events.take(b"\n") == b"data: 2\n\n"
    assert events.take(b"data: 3\n\n") == b"data: 3\n\n"


@pytest.mark.parametrize(
    ("whole", "expected"),
    [
        (b"data: [DONE]\n\n", True),
        (b"data:[DONE]\r\n\r\n", True),
        (b'data: {"a": 1}\n\ndata: [DONE]\n\n', True),
        (b'data: {"text": "data: [DONE]"}\n\n', False),
        (b": data: [DONE]\n\n", False),
        (b"data: [DONE]\n\n: more\n\n", False),
        (b"", False),
    ],
)
def test_the_last_event(whole: bytes, expected: bool) -> None:
    assert is_done(whole) is expected


@pytest.mark.parametrize(
    ("rest", "expected"),
    [(b"data: [DONE]\n", True), (b"data: [DONE]", True), (b"data: [DO", False), (b"", False)],
)
def test_a_last_event_that_lacks_only_its_end(rest: bytes, expected: bool) -> None:
    events = WholeEvents()
    events.take(b"data: 1\n\n" + rest)
    assert events.rest_is_done is expected
