"""Training rows as a trainer gets them: JSON lines, rendered the way the student will be asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from distiller.artefact import Adapter
from distiller.chat import message_of
from distiller.dataset.text import messages_of
from distiller.dataset.values import PLAIN_PREDICTOR, Dataset, Row, Split
from distiller.errors import DistillerError
from programs import rows as program_rows
from programs.errors import ProgramError

#: what small students do not write
_DROP = ("reasoning",)
#: more rows that can't be rendered mean that something is wrong with all of them
_MOST_PROBLEMS = 0.01

#: `programs.rows.render_rows`, with its timeout
Render = Callable[[program_rows.Job], Awaitable[program_rows.Rendered]]


class RenderError(DistillerError):
    """The program could not render its rows."""


class ProgramSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where a route's program is."""

    #: ``package.module:factory``
    factory: str
    #: the user's folder
    user_dir: str


class TrainingFiles(msgspec.Struct, frozen=True, kw_only=True):
    """The two uploads of a job, as JSON lines. ``validation`` holds dev and calibration rows."""

    train: bytes
    validation: bytes
    #: output fields of the teacher that the student does not write
    drop: tuple[str, ...] = ()


async def training_files(
    dataset: Dataset, adapter: Adapter, *, program: ProgramSource | None, render: Render
) -> TrainingFiles:
    """Render the rows of a dataset for one trainer. Raises `RenderError`."""
    train = dataset.split(Split.TRAIN)
    validation = (*dataset.split(Split.DEV), *dataset.split(Split.CALIBRATION))
    rows = (*train, *validation)
    drop: tuple[str, ...] = ()
    if program is None:
        lines = [_plain_line(row) for row in rows]
    else:
        rendered = await _rendered(dataset, adapter, rows, program, render)
        drop = rendered.head.drop
        lines = [
            b"" if one.problem else _line(row, one.messages, one.inputs, one.outputs)
            for row, one in zip(rows, rendered.rows, strict=True)
        ]
    return TrainingFiles(
        train=b"".join(lines[: len(train)]), validation=b"".join(lines[len(train) :]), drop=drop
    )


async def _rendered(
    dataset: Dataset,
    adapter: Adapter,
    rows: Sequence[Row],
    program: ProgramSource,
    render: Render,
) -> program_rows.Rendered:
    job = program_rows.Job(
        factory=program.factory,
        user_dir=program.user_dir,
        predictor=dataset.predictor,
        adapter=adapter,
        drop=_DROP,
        rows=[program_rows.Row(inputs=row.inputs, outputs=row.outputs) for row in rows],
    )
    try:
        rendered = await render(job)
    except ProgramError as error:
        raise RenderError(str(error)) from error
    rendered = msgspec.structs.replace(rendered, rows=[_checked(row) for row in rendered.rows])
    problems = Counter(row.problem for row in rendered.rows if row.problem)
    if problems.total() > _MOST_PROBLEMS * len(rows):
        problem, n = problems.most_common(1)[0]
        raise RenderError(
            f"{problems.total()} of {len(rows)} rows of {program.factory!r} can't be rendered; "
            f"{n} of them: {problem}"
        )
    return rendered


def _checked(row: program_rows.RenderedRow) -> program_rows.RenderedRow:
    """A trainer refuses a whole file for one message that is not text, such as an image."""
    try:
        for message in row.messages:
            message_of(message)
    except ValueError as error:
        return program_rows.RenderedRow(problem=str(error))
    return row


def _plain_line(row: Row) -> bytes:
    """Exactly the application's messages, and the answer."""
    answer = {"role": "assistant", "content": row.outputs[PLAIN_PREDICTOR]}
    return _line(row, [*messages_of(row.request), answer], row.inputs, row.outputs)


def _line(
    row: Row, messages: list[dict[str, Any]], inputs: dict[str, Any], outputs: dict[str, Any]
) -> bytes:
    line = {
        "messages": messages,
        "inputs": inputs,
        "outputs": outputs,
        "split": str(row.split),
        "weight": row.weight,
    }
    return msgspec.json.encode(line) + b"\n"
