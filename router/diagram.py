"""The state table for people: a Mermaid diagram and a Markdown table, printed from the data."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from router.events import Event
from router.stages import EXPOSED, RAMP, SERVING, Stage
from router.table import ROWS, Row, Target

_SERVING = "SERVING"
_ABSENT = "[*]"


def mermaid() -> str:
    """Return the diagram; rows that stay in their stage are left to the table."""
    edges: dict[tuple[str, str], list[str]] = {
        (_ABSENT, Stage.SHADOW.value): [Event.STUDENT_REGISTERED.value]
    }
    for row in ROWS:
        for start in _starts(row):
            end = _end(row)
            if end is not None and end != start:
                labels = edges.setdefault((start, end), [])
                if row.event.value not in labels:
                    labels.append(row.event.value)
    steps = [
        f"        {low.value} --> {high.value}: {Event.ADVANCE.value}"
        for low, high in pairwise(SERVING)
    ]
    return "\n".join(
        [
            "stateDiagram-v2",
            f"    state {_SERVING} {{",
            *steps,
            "    }",
            *(f"    {a} --> {b}: {', '.join(labels)}" for (a, b), labels in edges.items()),
        ]
    )


def markdown_table() -> str:
    """Return every row of the table, with its conditions."""
    lines = [
        "| from | event | conditions | to | new k |",
        "|---|---|---|---|---|",
        "| - | `student_registered` | artefact there | SHADOW | yes |",
    ]
    for row in ROWS:
        to = row.to.value
        conditions = ", ".join(condition.name for condition in row.when)
        lines.append(
            f"| {_span(row.stages)} | `{row.event.value}` | {conditions} | {to} |"
            f" {'yes' if row.new_k else ''} |"
        )
    return "\n".join(lines)


def _starts(row: Row) -> tuple[str, ...]:
    """Return the nodes that a row starts from; the serving stages are one node."""
    alone = [stage.value for stage in row.stages if stage not in SERVING]
    if len(alone) < len(row.stages) and row.to is not Target.NEXT:
        # R1 is where READY leads to, but no row of the diagram starts inside the box.
        return (_SERVING, *alone)
    return tuple(alone)


def _end(row: Row) -> str | None:
    if row.to is Target.RETURN:
        return _SERVING
    return row.to.value if isinstance(row.to, Stage) else None


def _span(stages: Iterable[Stage]) -> str:
    """Write a set of stages as the documents do: R1..R50, R1..LIVE."""
    left = list(stages)
    words = []
    if set(left) == set(Stage):
        return "any"
    for group, name in ((SERVING, "R1..LIVE"), (RAMP, "R1..R50")):
        if set(group) <= set(left):
            words.append(name)
            left = [stage for stage in left if stage not in group]
    return ", ".join([*(s.value for s in left if s not in EXPOSED), *words, *_held(left)])


def _held(left: list[Stage]) -> list[str]:
    return [stage.value for stage in left if stage in EXPOSED]
