"""The seam between the core and whatever moves the bytes.

A front makes a `Request`, gives the core an `Exchange`, and that is all they know of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

Headers = Sequence[tuple[bytes, bytes]]

#: the largest request body
MAX_BODY_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A complete request, as it came."""

    #: names in lower case
    headers: Headers
    body: bytes


class Exchange(Protocol):
    """The way back to the client."""

    async def start(self, status: int, headers: Headers) -> None:
        """Send status and headers; without ``content-length`` the front frames the body."""

    async def send(self, chunk: bytes, *, last: bool) -> None:
        """Send a part of the body; waits while the client is slow, does nothing if it is gone."""

    def watch(self, left: Callable[[], None]) -> None:
        """Call ``left`` once if the client closes its connection before the last byte."""
