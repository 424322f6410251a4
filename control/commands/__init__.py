"""One module a command, with ``arguments(parser)`` and ``run(args) -> int``.

Heavy imports (pydantic, httpx, rich, a process' own package) stand inside ``run``.
"""

from __future__ import annotations
