"""Where an upstream is, and the part of a request's head that never changes."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec

from gateway.errors import SnapshotError

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """A base URL, taken apart."""

    host: str
    port: int
    tls: bool
    #: without a slash at the end
    path: str

    @property
    def authority(self) -> str:
        """The value of the ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = _DEFAULT_PORTS["https" if self.tls else "http"]
        return host if self.port == default else f"{host}:{self.port}"


def parse_base_url(base_url: str, *, upstream: str) -> Address:
    """Take a base URL apart; raise `SnapshotError` for one that can't be called."""
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError as error:
        raise SnapshotError(f"upstream {upstream!r}: base_url {base_url!r}: {error}") from error
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise SnapshotError(
            f"upstream {upstream!r}: base_url {base_url!r} is no http:// or https:// address"
        )
    return Address(
        host=parts.hostname,
        port=port or _DEFAULT_PORTS[parts.scheme],
        tls=parts.scheme == "https",
        path=parts.path.rstrip("/"),
    )


def request_head(address: Address, api_key: str | None) -> bytes:
    """Return the head of a chat completion up to, and without, the headers that vary.

    There is no ``accept-encoding``: an answer passes on, and is recorded, as it comes.
    """
    lines = [
        f"POST {address.path}/chat/completions HTTP/1.1",
        f"host: {address.authority}",
        "user-agent: limbeck",
        "content-type: application/json",
    ]
    if api_key is not None:
        lines.append(f"authorization: Bearer {api_key}")
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")
