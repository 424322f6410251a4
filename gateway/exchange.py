"""The seam between the core and whatever moves the bytes.

A front gives the core a request's headers and an `Exchange`, and that is all they know of each
other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

#: names in lower case
Headers = Sequence[tuple[bytes, bytes]]

#: the largest request body
MAX_BODY_BYTES = 32 * 1024 * 1024


class Exchange(Protocol):
    """A client's body as it comes, and the way back to the client."""

    async def read(self, limit: int) -> bytes:
        """Return the whole body; raise `Refusal` (413) above ``limit`` bytes, or `ClientLeft`."""

    async def start(self, status: int, headers: Headers) -> None:
        """Send status and headers; without ``content-length`` the front frames the body."""

    async def send(self, chunk: bytes, *, last: bool) -> None:
        """Send a part of the body; waits while the client is slow, does nothing if it is gone."""

    def watch(self, left: Callable[[], None]) -> None:
        """Call ``left`` once if the client closes its connection before the last byte."""

    def abort(self) -> None:
        """Close the client's connection now, and drop what it has not read."""
