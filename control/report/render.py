"""Draws a report as Markdown and as one self-contained HTML page.

Content from traffic is untrusted in both: it can neither leave its place nor load anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from control.report.charts import Charts, charts
from control.report.frame import NARROW, WIDE
from control.report.model import RECENT, ReportBody

_TEMPLATE = Path(__file__).parent / "template"
_LONGEST = 240
#: Characters that begin markup in Markdown. As entities they begin none, whatever stands before
#: them, a backslash too, and a pipe ends no cell.
_ENTITIES = {ord(c): f"&#{ord(c)};" for c in "&<|`[]*~\\"}
#: an underscore inside a name begins nothing
_EDGE = re.compile(r"(?<![^\W_])_+|_+(?![^\W_])")


def markdown(body: ReportBody, sha256: str) -> str:
    """The report for a terminal, a ticket or a pull request."""
    template = _environment(finalize=_inert).from_string((_TEMPLATE / "report.md.j2").read_text())
    return template.render(r=body, sha256=sha256)


def html(body: ReportBody, sha256: str) -> str:
    """The report as a page."""
    environment = _environment(autoescape=True)
    template = environment.from_string((_TEMPLATE / "report.html.j2").read_text())
    return template.render(
        r=body, sha256=sha256, recent=RECENT,
        wide=Charts(*map(Markup, charts(body, WIDE))),
        narrow=Charts(*map(Markup, charts(body, NARROW))),
    )  # fmt: skip


def _environment(
    *, autoescape: bool = False, finalize: Callable[[Any], Any] | None = None
) -> jinja2.Environment:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True,
        autoescape=autoescape, finalize=finalize,
    )  # fmt: skip
    environment.filters["count"] = lambda n: f"{n:,}"
    environment.filters["shown"] = _shown
    return environment


def _shown(text: str) -> str:
    """Untrusted text on one line, cut, without control characters (those of direction too)."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _inert(value: Any) -> Any:
    """Text that is nothing but text in Markdown."""
    if not isinstance(value, str):
        return value
    text = " ".join(value.split()).translate(_ENTITIES)
    return _EDGE.sub(lambda edge: "&#95;" * len(edge[0]), text)
