"""Tells the demo's story on the terminal: what happens, when it happens."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text


class Narrator:
    """Timed lines, headings, and bars for what takes long.

    On a terminal the bars move; in a log, where nothing moves, the lines alone tell the story.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._began = time.monotonic()
        self._progress = Progress(
            TextColumn("        {task.description:<28}"),
            BarColumn(bar_width=36),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            transient=True,
        )
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Narrator:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def heading(self, text: str) -> None:
        """A new part of the story."""
        self.console.print(f"\n[bold]{text}[/bold]")

    def say(self, text: str, style: str = "") -> None:
        """One thing that happened. ``text`` may hold square brackets."""
        minutes, seconds = divmod(int(self.elapsed_s), 60)
        line = Table.grid(padding=(0, 2, 0, 0))
        line.add_column(width=6, justify="right", style="dim")
        line.add_column(style=style, overflow="fold")
        line.add_row(f"{minutes}:{seconds:02d}", Text(text))
        self.console.print(line)

    def copyable(self, text: str) -> None:
        """A line to be copied: nothing stands before it, and it is never broken."""
        self.console.print(text, markup=False, soft_wrap=True)

    def bar(self, name: str, share: float, note: str = "") -> None:
        """Show how far ``name`` is, 0..1."""
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=1.0, note=note)
        self._progress.update(self._bars[name], completed=min(max(share, 0.0), 1.0), note=note)

    def done(self, name: str) -> None:
        """Take a bar away."""
        task = self._bars.pop(name, None)
        if task is not None:
            self._progress.remove_task(task)
