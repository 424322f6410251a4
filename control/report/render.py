"""Draws a report as Markdown and as one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path

import jinja2
from markupsafe import Markup

from control.report.charts import charts
from control.report.model import ReportBody

_TEMPLATE = Path(__file__).parent / "template"
_LONGEST_CELL = 160


def markdown(body: ReportBody, sha256: str) -> str:
    """The report for a terminal, a ticket or a pull request."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.filters["cell"] = _cell
    template = environment.from_string((_TEMPLATE / "report.md.j2").read_text())
    return template.render(r=body, short=sha256[:12])


def html(body: ReportBody, sha256: str) -> str:
    """The report as a page. Content from traffic is untrusted: everything is escaped."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=True)
    template = environment.from_string((_TEMPLATE / "report.html.j2").read_text())
    drawn = {name: Markup(svg) for name, svg in charts(body)._asdict().items()}
    return template.render(r=body, short=sha256[:12], charts=drawn)


def _cell(text: str) -> str:
    """Text that cannot leave its table cell."""
    line = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
    return line if len(line) <= _LONGEST_CELL else line[: _LONGEST_CELL - 1] + "…"
