"""The page in a real browser, from a file, as the owner of the bill opens it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape
from pathlib import Path

import pytest

from router.stages import Stage
from tests.control.report.filled import Filled, live, no_student, rolled_back
from tests.control.report.page import Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium or chromium-browser on PATH")

_EVIL = "</td><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
#: attributes from which a browser would load something
_LOADS = ("src", "href", "srcset", "data", "action", "poster", "background")
#: how much of the page in the frame is reached by scrolling sideways only, how large the letters
#: of the charts that are shown are, and how much room the notes of the test's numbers have, in
#: pixels of the screen
_MEASURE = """
const page = document.querySelector("iframe").contentDocument;
const root = page.documentElement;
const all = (selector) => [...page.querySelectorAll(selector)];
const shown = all("svg").filter((svg) => svg.getBoundingClientRect().width);
document.body.textContent = JSON.stringify({
  hidden: root.scrollWidth - root.clientWidth,
  letters: shown.map((svg) => 11 * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width),
  notes: all(".figures td.soft").map((cell) => cell.getBoundingClientRect().width),
});
"""


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
    assert page.tags.count("svg") == 2 * 4
    assert page.tags.count("path") == 2 * (2 + 5 + 1 + 1)
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
    assert page.tags.count("svg") == 2 * 4


def test_a_report_without_a_student(filled: Filled, tmp_path: Path) -> None:
    no_student(filled)
    page = loaded(filled.report().html, tmp_path)
    assert "The teacher answers everything. No student has been distilled yet." in page.text
    assert "svg" not in page.tags


@pytest.mark.parametrize("width", [360, 700, 800, 1200])
def test_the_page_fits_its_reader(filled: Filled, tmp_path: Path, width: int) -> None:
    """Tables may scroll inside the page; the page never does, and all letters can be read."""
    filled.pair(1.0, 0.0, text="x" * 500, student_answer="y" * 300)
    rolled_back(filled)
    filled.event("pause", Stage.HELD, reason="z" * 200, actor="w" * 100)
    style = f"width: {width}px; border: 0"
    frame = (
        f'<iframe style="{style}" srcdoc="{escape(filled.report().html)}"></iframe>'
        f"<script>onload = () => {{ {_MEASURE} }}</script>"
    )
    measured = json.loads(loaded(frame, tmp_path).text)
    assert measured["hidden"] == 0
    assert len(measured["letters"]) == 4, "each chart is shown once"
    assert min(measured["letters"]) > 9.0
    assert min(measured["notes"]) > 250.0
