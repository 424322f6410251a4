"""Content from traffic is untrusted: it may not leave its place in any form of the report."""

from __future__ import annotations

from collections import Counter

import pytest

from router.stages import Stage
from tests.control.report.filled import Filled, body_of, ready
from tests.control.report.page import Page, read_markdown

HOSTILE = {
    "script": "<script>document.title='owned'</script>",
    "handler": "\"><img src=x onerror=\"document.title='owned'\">",
    "closing": "</td></tr></table></body></html><h2>Approved</h2>",
    "template": "{{ 7*7 }}{% raw %}{{ r.route }}",
    "comment": "<!-- ",
    "entities": "&lt;b&gt; &#60;b&#62; &amp;",
    "pipes": "a | b || c \\| d \\\\| e",
    "backticks": "`code` ```\nfence\n``` ~~~",
    "lines": "one\n\n# Approved\r\n- item\n| x | y |\n\u2028two\u0085three",
    "link": "[click](javascript:alert(1)) ![](http://evil.invalid/x.png) <http://evil.invalid>",
    "controls": "a\x00b\x1b[31mred\x07\x7f",
    "direction": "safe \u202egnp.exe \u2066\u200f end",
    "hebrew": "\u05d4\u05d4\u05d6\u05de\u05e0\u05d4 \u05e9\u05dc\u05d9 | \u05dc\u05d0",
    "emphasis": "**bold** *x* __y__ ~~z~~ snake_case_name",
    "empty": "",
}  # fmt: skip


#: what one more transition adds
_ROW = Counter({"tr": 1, "td": 7})
#: inside a plot: a transition adds its mark
_DRAWN = {"line", "path", "text", "title"}


def more_tags(page: Page, before: Page) -> Counter[str]:
    """The elements that a page has more, or fewer, than it had before."""
    now, then = Counter(page.tags), Counter(before.tags)
    changed = {tag: now[tag] - then[tag] for tag in (now | then).keys() - _DRAWN}
    return Counter({tag: n for tag, n in changed.items() if n})


@pytest.fixture
def baseline(filled: Filled) -> Filled:
    ready(filled)
    return filled


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_content_stays_in_its_cell(baseline: Filled, name: str) -> None:
    hostile = HOSTILE[name]
    before = baseline.report()
    # The worst pair for the student comes first in the table: this one.
    baseline.pair(1.0, -1.0, text=hostile, teacher_answer=hostile, student_answer=hostile, seq=None)
    baseline.event("approve", baseline.rollout.stage, reason=hostile, actor=hostile or "ann")
    report = baseline.report()

    page = Page(report.html)
    row = next(row for row in page.table("request") if row[4] == "-1.000")
    shown = " ".join("".join(c if c.isprintable() else " " for c in " ".join(hostile.split()))
                     .split())  # fmt: skip
    for cell in (row[0], row[1], row[3], page.table("when (UTC)")[-1][6]):
        assert " ".join(cell.split()) == shown
    # One row more in the history, and nothing else.
    assert more_tags(page, Page(before.html)) == _ROW
    assert not any(name.startswith("on") for name, _ in page.attributes)

    text = read_markdown(report.markdown)
    assert more_tags(text, read_markdown(before.markdown)) == _ROW
    assert [len(row) for row in text.table("request")] == [5] * 20
    row = next(row for row in text.table("request") if row[4] == "-1.000")
    assert " ".join(row[0].split()) == shown
    assert body_of(report).disagreements[0].text == hostile


def test_a_long_text_is_cut_where_it_is_read(baseline: Filled) -> None:
    long = "word " * 1_000
    baseline.pair(1.0, -1.0, text=long, teacher_answer="x" * 5_000, seq=None)
    report = baseline.report()
    for page in (Page(report.html), read_markdown(report.markdown)):
        row = page.table("request")[0]
        assert len(row[0]) == 240 and row[0].endswith("…")
        assert len(row[1]) == 240
    assert body_of(report).disagreements[0].text == long


def test_a_hostile_reason_in_the_verdict(filled: Filled) -> None:
    """The reason of a person's rollback stands in the verdict."""
    ready(filled)
    before = filled.report()
    reason = "bad\n\n# Approved\n<b>yes</b> | `no` [x](http://evil.invalid)"
    filled.event("rollback", Stage.ROLLED_BACK, reason=reason, actor="<i>ann</i>")
    report = filled.report()
    assert more_tags(Page(report.html), Page(before.html)) == _ROW
    text = read_markdown(report.markdown)
    assert more_tags(text, read_markdown(before.markdown)) == _ROW
    assert "Bad # Approved <b>yes</b> | `no` [x](http://evil.invalid)." in text.text
