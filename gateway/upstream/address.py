"""Where an upstream is, and the part of a request's head that never changes."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import msgspec

_DEFAULT_PORTS = {"http": 80, "https": 443}
#: what may stand in a request's head; anything else ends a line, or can't be sent
_VISIBLE = re.compile(r"[\x21-\x7e]*")


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


def parse_base_url(base_url: str) -> Address:
    """Take a base URL apart; raise `ValueError`, with what is wrong, for one nobody can call."""
    parts = urlsplit(base_url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError('must be an http(s) URL, for example "https://api.openai.com/v1"')
    if not _VISIBLE.fullmatch(parts.path):
        raise ValueError("its path holds a character that no URL can: percent-encode it")
    return Address(
        host=_host(parts.hostname),
        port=parts.port or _DEFAULT_PORTS[parts.scheme],
        tls=parts.scheme == "https",
        path=parts.path.rstrip("/"),
    )


def _host(name: str) -> str:
    """Return the name as it is looked up, in ASCII; raise `ValueError` if it can't be one."""
    try:
        # Also checks that every part of it is 1 to 63 characters long.
        host = name.encode("idna").decode()
    except UnicodeError:
        host = " "
    if not _VISIBLE.fullmatch(host):
        raise ValueError(f"{name!r} can't be the name of a host")
    return host


def clean_key(value: str) -> str:
    """Return a key without the line end that mounted secrets have.

    Raises `ValueError`, without the key, for one that can't be sent.
    """
    key = value.strip()
    if not _VISIBLE.fullmatch(key):
        raise ValueError(
            "holds white space or a character outside ASCII, which no header can carry:"
            " set it to the bare key"
        )
    return key


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
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")
