from __future__ import annotations

from pathlib import Path

import pytest

from traces.store.errors import QueryError
from traces.store.queries import load_queries

GOOD = (
    "-- name: first\n-- What it does.\nSELECT 1\nFROM x;\n\n-- name: second\n-- Too.\nSELECT 2;\n"
)


def test_blocks_become_queries(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text(GOOD)
    queries = load_queries(tmp_path)
    assert list(queries) == ["first", "second"]
    assert queries["first"].description == "What it does."
    assert queries["first"].sql == "SELECT 1\nFROM x"


def test_a_name_belongs_to_one_query_over_all_files(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text(GOOD)
    (tmp_path / "b.sql").write_text("-- name: second\n-- Again.\nSELECT 3;\n")
    with pytest.raises(QueryError, match=r"'second' is in a\.sql and in b\.sql"):
        load_queries(tmp_path)


@pytest.mark.parametrize(
    "text", ["-- name: x\nSELECT 1;", "-- name: x\n-- only words\n", "-- name: Bad-Name\n-- a\nb"]
)
def test_a_malformed_block_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.sql").write_text(text)
    with pytest.raises(QueryError, match=r"a\.sql"):
        load_queries(tmp_path)


def test_the_queries_of_the_project_load() -> None:
    assert "ledger" in load_queries()
