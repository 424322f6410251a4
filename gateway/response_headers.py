"""The headers of an answer: what passes from the upstream, and what limbeck says about it."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.passage import Passage

_PASSED = frozenset(
    {
        b"content-type",
        b"content-encoding",
        b"cache-control",
        b"retry-after",
        b"retry-after-ms",
        b"x-should-retry",
    }
)
_PASSED_PREFIXES = (b"openai-", b"x-ratelimit-")


def answer_headers(
    passage: Passage, upstream: Mapping[bytes, bytes], *, elapsed_s: float
) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer; ``upstream`` are those of the upstream's answer."""
    headers = [
        (name, value)
        for name, value in upstream.items()
        if name in _PASSED or name.startswith(_PASSED_PREFIXES)
    ]
    if b"openai-processing-ms" not in upstream:
        headers.append((b"openai-processing-ms", b"%d" % (elapsed_s * 1000)))
    overhead_s = max(elapsed_s - passage.waited_s, 0.0)
    headers += (
        (b"x-request-id", request_id(passage, upstream)),
        (b"x-limbeck-inference-id", passage.trace_id.encode()),
        (b"x-limbeck-served-by", passage.served_by.encode()),
        (b"x-limbeck-route-reason", passage.reason.encode()),
        (b"x-limbeck-overhead-ms", b"%.2f" % (overhead_s * 1000)),
    )
    if passage.student is not None:
        headers.append((b"x-limbeck-student", passage.student.encode()))
    if passage.audit:
        headers.append((b"x-limbeck-audit", b"1"))
    return headers


def request_id(passage: Passage, upstream: Mapping[bytes, bytes]) -> bytes:
    """Return the client's id of the request, else the upstream's, else our own."""
    return passage.headers.request_id or upstream.get(b"x-request-id", passage.trace_id.encode())
