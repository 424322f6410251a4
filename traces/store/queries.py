"""Named queries: ``traces/sql/*.sql``, blocks of ``-- name: NAME``, one comment line, the query."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from traces.store.errors import QueryError

FOLDER = Path(__file__).parent.parent / "sql"
_NAME = re.compile(r"^-- name: *(?P<name>\S+) *$", re.MULTILINE)
_VALID = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    name: str
    #: one line for the reader
    description: str
    sql: str
    #: name of the file
    file: str


def load_queries(folder: Path = FOLDER) -> dict[str, Query]:
    """Read all named queries of a folder. Raises `QueryError` for a doubled or malformed one."""
    queries: dict[str, Query] = {}
    for path in sorted(folder.glob("*.sql")):
        for query in _parse(path):
            other = queries.get(query.name)
            if other is not None:
                raise QueryError(
                    f"query {query.name!r} is in {other.file} and in {path.name}: rename one"
                )
            queries[query.name] = query
    return queries


def _parse(path: Path) -> list[Query]:
    text = path.read_text(encoding="utf-8")
    matches = list(_NAME.finditer(text))
    ends = [match.start() for match in matches[1:]] + [len(text)]
    found = []
    for match, end in zip(matches, ends, strict=True):
        name = match["name"]
        description, _, sql = text[match.end() : end].strip().partition("\n")
        if not _VALID.fullmatch(name):
            raise QueryError(f"{path.name}: {name!r} is no name: use lower case and underscores")
        if not description.startswith("-- ") or not sql.strip():
            raise QueryError(f"{path.name}: {name}: one comment line and a query must follow")
        sql = sql.strip().removesuffix(";")
        found.append(Query(name=name, description=description[3:], sql=sql, file=path.name))
    return found
