"""Asks a server of ours whether it is ready."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

_TIMEOUT_S = 2.0


async def answers_ok(url: str) -> bool:
    """Whether ``url`` (http, one of our own servers) answers 200 within two seconds."""
    try:
        return await asyncio.wait_for(_status(url), _TIMEOUT_S) == 200
    except (OSError, TimeoutError, ValueError, IndexError):
        return False


async def _status(url: str) -> int:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        request = f"GET {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\nconnection: close\r\n\r\n"
        writer.write(request.encode())
        line = await reader.readline()
        return int(line.split()[1])
    finally:
        writer.close()
