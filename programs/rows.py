"""Training rows of one predictor, rendered as the student will be asked.

`render_rows` is for the distiller; it runs the child `limbeck rows` (`main`), because rendering
needs the user's program, and the user's code never runs in control.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from programs.child import (
    claim_pipes,
    console_script,
    die_with_parent,
    environment_of_child,
    kill_group,
)
from programs.description import OutputField
from programs.errors import ChildError, ProgramError
from programs.student_files import Skeleton
from programs.user_code import open_user_folder


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One predictor call to learn from, as JSON values."""

    inputs: dict[str, Any]
    outputs: dict[str, Any]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What the child gets on its standard input."""

    #: ``package.module:factory``
    factory: str
    user_dir: str
    predictor: str
    #: ``chat`` or ``json``
    adapter: str
    #: outputs that the student does not give, where the predictor has them
    drop: tuple[str, ...] = ()
    rows: list[Row]


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """First line of the child's answer."""

    skeleton: Skeleton
    #: of the student: without the dropped ones
    output_fields: dict[str, OutputField]
    #: the outputs that were dropped
    drop: tuple[str, ...]


class RenderedRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One further line for each row, in order: a training row, or why there is none."""

    #: chat messages, the assistant's answer last
    messages: list[dict[str, Any]] = []
    inputs: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    #: None: the row is good
    problem: str | None = None


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """All rows of a job, and what they have in common."""

    head: Head
    rows: list[RenderedRow]


class _Failed(msgspec.Struct, frozen=True, kw_only=True):
    error: str


async def render_rows(job: Job, *, timeout_s: float) -> Rendered:
    """Render all rows in a child process. Raises `ChildError`."""
    try:
        asked = msgspec.json.encode(job)
    except RecursionError as error:
        raise ChildError(f'a row of program "{job.factory}" is nested too deeply') from error
    child = await asyncio.create_subprocess_exec(
        console_script(),
        "rows",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
        env=environment_of_child(),
    )
    try:
        async with asyncio.timeout(timeout_s):
            answer, _ = await child.communicate(asked)
    except TimeoutError as error:
        raise ChildError(
            f'rendering {len(job.rows)} rows of program "{job.factory}" took more than '
            f"{timeout_s:g} s: look for work at import time, or for an input of unusual size"
        ) from error
    finally:
        if child.returncode is None:
            kill_group(child.pid)
            await child.wait()
    return _read(answer, job, child.returncode)


def _read(answer: bytes, job: Job, code: int | None) -> Rendered:
    lines = answer.splitlines()
    what = f'the rows of program "{job.factory}"'
    try:
        first = msgspec.json.decode(lines[0]) if lines else {}
        if "error" in first:
            raise ChildError(f"{what} could not be rendered: {first['error']}")
        head = msgspec.convert(first, Head)
        rows = [msgspec.json.decode(line, type=RenderedRow) for line in lines[1:]]
    except msgspec.MsgspecError as error:
        raise ChildError(f"{what}: the child ended with code {code} and said no rows") from error
    if len(rows) != len(job.rows):
        raise ChildError(f"{what}: {len(rows)} of {len(job.rows)} came back, code {code}")
    return Rendered(head=head, rows=rows)


def main() -> int:
    """Run `limbeck rows`: a job on standard input, a head and rows on standard output."""
    die_with_parent()
    pipes = claim_pipes()
    try:
        job = msgspec.json.decode(pipes.requests.read(), type=Job)
        for line in _render(job):
            pipes.replies.write(msgspec.json.encode(line) + b"\n")
    except (ProgramError, msgspec.MsgspecError) as error:
        pipes.replies.write(msgspec.json.encode(_Failed(error=str(error))) + b"\n")
        print(f"limbeck rows: {error}", file=sys.stderr)
        return 1
    finally:
        pipes.replies.flush()
    return 0


def _render(job: Job) -> Sequence[Head | RenderedRow]:
    folder = Path(job.user_dir)
    open_user_folder(folder)
    from programs import dspy_compat  # takes a second to import, and the driver does not need it

    predictor = dspy_compat.load_predictor(job.factory, folder, job.predictor)
    prompt = dspy_compat.student_prompt(predictor, adapter=job.adapter, drop=job.drop)
    dropped = tuple(name for name in job.drop if name in predictor.signature.output_fields)
    head = Head(skeleton=prompt.skeleton, output_fields=prompt.output_fields, drop=dropped)
    wanted = list(prompt.output_fields)
    return [head, *(_row(row, wanted, prompt.messages) for row in job.rows)]


def _row(row: Row, wanted: Sequence[str], messages: Any) -> RenderedRow:
    missing = [name for name in wanted if row.outputs.get(name) is None]
    if missing:
        return RenderedRow(problem=f"missing outputs: {', '.join(missing)}")
    outputs: Mapping[str, Any] = {name: row.outputs[name] for name in wanted}
    try:
        rendered = messages(row.inputs, outputs)
    except Exception as error:  # one odd row is no reason to lose the others
        return RenderedRow(problem=f"{type(error).__name__}: {error}")
    return RenderedRow(messages=rendered, inputs=row.inputs, outputs=dict(outputs))
