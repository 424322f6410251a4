"""The example that the tutorial uses, as a person runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SEND = Path(__file__).parents[2] / "examples" / "tickets" / "send.py"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("1901", "2100"), "tickets.csv has the rows 1 to 2000, not 1901 to 2100"),
        (("2001", "2100"), "any of them may be sent again"),
        (("0", "10"), "not 0 to 10"),
        (("20", "10"), "not 20 to 10"),
        (("1",), "usage: python send.py FIRST LAST (rows of tickets.csv, 1 to 2000)"),
        (("one", "ten"), "usage: python send.py FIRST LAST"),
    ],
)
def test_rows_that_are_not_there(words: tuple[str, ...], message: str) -> None:
    shown = subprocess.run(
        [sys.executable, str(SEND), *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert (shown.returncode, shown.stdout) == (1, "")
    assert message in shown.stderr
    assert "Traceback" not in shown.stderr
