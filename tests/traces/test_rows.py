from __future__ import annotations

import pytest

from tests.traces.conftest import Sql
from traces import rows


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("traces", rows.TraceRow),
        ("calls", rows.CallRow),
        ("feedback", rows.FeedbackRow),
        ("gaps", rows.GapRow),
        ("open_requests", rows.OpenRequestRow),
        ("dead_letters", rows.DeadLetterRow),
    ],
)
def test_rows_have_the_columns_of_their_table(
    sql: Sql, table: str, row: type[tuple[object]]
) -> None:
    columns = [name for name, *_ in sql(f"DESCRIBE {table}")]
    assert list(row._fields) == columns  # type: ignore[attr-defined]
