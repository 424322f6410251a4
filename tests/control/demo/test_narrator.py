from __future__ import annotations

import io
import re

from rich.console import Console

from control.demo.narrator import Narrator
from tests.polling import until


def told(*, terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=80, highlight=False)
    with Narrator(console) as tell:
        tell.heading("1. The teacher answers")
        tell.say("weight [0.5, 0.9] of [red]x[/red]", style="green")
        tell.bar("usable rows", 0.25, "225 of 900")
        tell.bar("usable rows", 7.0, "900 of 900")
        if terminal:
            until(lambda: "900 of 900" in out.getvalue(), what="the moving bar")
        tell.done("usable rows")
        tell.done("never begun")
        tell.bar("guard", -1.0)
        tell.say("a long line " * 12)
    return out.getvalue()


def test_a_log_holds_lines_only() -> None:
    shown = told(terminal=False)
    assert "\x1b" not in shown
    assert "1. The teacher answers" in shown
    assert re.search(r"^ +0:0\d  weight \[0.5, 0.9\] of \[red\]x\[/red\]", shown, re.MULTILINE)
    assert max(map(len, shown.splitlines())) <= 80


def test_a_line_to_be_copied_is_never_broken() -> None:
    out = io.StringIO()
    with Narrator(Console(file=out, width=40, highlight=False)) as tell:
        tell.copyable("curl [x] " * 20 + "end")
    assert out.getvalue().splitlines()[0] == "curl [x] " * 20 + "end"


def test_a_terminal_gets_bars_and_colours() -> None:
    shown = told(terminal=True)
    assert "\x1b[32m" in shown
    assert "usable rows" in shown
    # Text from outside is text there, too.
    assert "[red]x[/red]" in shown
