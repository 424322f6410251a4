"""The page in a real browser, from a file, as the owner of the bill opens it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.control.report.filled import Filled, live, no_student, rolled_back
from tests.control.report.page import Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium or chromium-browser on PATH")

_EVIL = "</td><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
#: attributes from which a browser would load something
_LOADS = ("src", "href", "srcset", "data", "action", "poster", "background")


def loaded(html: str, folder: Path) -> Page:
    """What the browser has made of the page once it is loaded."""
    path = folder / "report.html"
    path.write_text(html)
    dump = subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", f"--user-data-dir={folder}/profile", "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return Page(dump.stdout)


def test_a_report_with_hostile_content(filled: Filled, tmp_path: Path) -> None:
    live(filled)
    filled.pair(1.0, -1.0, text=_EVIL, student_answer=_EVIL, seq=None)  # not consumed yet
    page = loaded(filled.report().html, tmp_path)
    assert "LIVE. It answers all requests but the 2 % of the holdout." in page.text
    assert page.tags.count("svg") == 4
    assert page.tags.count("path") == 2 + 3 + 1 + 1
    assert "script" not in page.tags and "img" not in page.tags
    assert "owned" not in page.text.partition("Promotion report")[0]
    row = page.table("request")[0]
    assert row[0] == _EVIL
    assert not [pair for pair in page.attributes if pair[0] in _LOADS]
    assert not re.search(r"url\(|@import", filled.report().html)


def test_a_report_of_a_student_taken_back(filled: Filled, tmp_path: Path) -> None:
    rolled_back(filled)
    page = loaded(filled.report().html, tmp_path)
    assert "ROLLED_BACK. Taken back; the teacher answers everything." in page.text
    assert ("class", "verdict bad") in page.attributes
    assert page.tags.count("svg") == 4


def test_a_report_without_a_student(filled: Filled, tmp_path: Path) -> None:
    no_student(filled)
    page = loaded(filled.report().html, tmp_path)
    assert "The teacher answers everything. No student has been distilled yet." in page.text
    assert "svg" not in page.tags
