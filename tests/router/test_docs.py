"""The rollout reference shows the table that runs. LIMBECK_WRITE_DOCS=1 rewrites it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from router.diagram import markdown_table, mermaid
from router.stages import HeldReason, Stage

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "rollout.md"
PARTS = {"diagram": f"```mermaid\n{mermaid()}\n```", "table": markdown_table()}


@pytest.mark.parametrize("part", sorted(PARTS))
def test_the_page_is_up_to_date(part: str) -> None:
    text = PAGE.read_text()
    begin, end = f"<!-- {part}:begin -->\n", f"<!-- {part}:end -->"
    before, rest = text.split(begin)
    shown, after = rest.split(end)
    if os.environ.get("LIMBECK_WRITE_DOCS"):
        PAGE.write_text(f"{before}{begin}{PARTS[part]}\n{end}{after}")
        return
    assert shown.strip() == PARTS[part], "run this test once with LIMBECK_WRITE_DOCS=1"


def test_every_stage_and_reason_is_documented() -> None:
    text = PAGE.read_text()
    assert [s.value for s in Stage if f"| {s.value} |" not in text] == []
    assert [r.value for r in HeldReason if f"| `{r.value}` |" not in text] == []


def test_the_diagram_has_every_stage() -> None:
    assert [s.value for s in Stage if s.value not in PARTS["diagram"]] == []
