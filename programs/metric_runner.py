"""The child that runs a user's metric: JSON lines in, JSON lines out.

The first line that it writes is a `Ready`; then one `Score` for each `Call`, in order. Prints of
the metric go to standard error and never into the protocol.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from programs.child import Pipes, claim_pipes, die_with_parent, limit_memory
from programs.errors import LoadError, ProgramError
from programs.score import Score, call_metric, takes_two
from programs.settings import MetricRunnerSettings
from programs.user_code import load_object, open_user_folder


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The metric is loaded, or why it is not."""

    error: str | None = None


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """Score one prediction; the values are JSON."""

    example: dict[str, Any]
    prediction: dict[str, Any]


def serve(settings: MetricRunnerSettings) -> int:
    """Load the metric and answer calls until standard input ends."""
    die_with_parent()
    pipes = claim_pipes()
    try:
        metric = load_metric(settings)
    except ProgramError as error:
        _write(pipes, Ready(error=str(error)))
        return 1
    # After the import: a limit that only the metric's own work can hit.
    limit_memory(settings.memory_mb)
    _write(pipes, Ready())
    here = os.getpid()
    for line in pipes.requests:
        score = _score(metric, msgspec.json.decode(line, type=Call), settings.user_dir)
        if os.getpid() != here:
            break  # a process that the metric forked has come back: the protocol is its parent's
        _write(pipes, score)
    return 0


def load_metric(settings: MetricRunnerSettings) -> Callable[..., object]:
    """Import the user's metric. Raises `LoadError` or `UserFolderError`."""
    open_user_folder(settings.user_dir)
    metric = load_object(settings.metric, what="metric", folder=settings.user_dir)
    if not callable(metric):
        raise LoadError(
            f'metric "{settings.metric}" is a {type(metric).__name__}: name a function '
            f"metric(example, prediction, trace=None)"
        )
    if isinstance(metric, type) or not takes_two(metric):
        raise LoadError(
            f'metric "{settings.metric}" can\'t be called with an example and a prediction: write '
            f"a function metric(example, prediction, trace=None)"
        )
    return metric


def _score(metric: Callable[..., object], call: Call, user_dir: Path) -> Score:
    here = os.getpid()
    try:
        return call_metric(metric, call.example, call.prediction)
    except BaseException as error:  # KeyboardInterrupt and the like: still the metric's doing
        if os.getpid() != here:
            raise  # in a process that the metric forked: it ends, and its parent sees how
        if isinstance(error, SystemExit):
            return Score(not_scored=f"the metric called exit({error.code!r})")
        what = f"{type(error).__name__}: {error}"[:500]
        return Score(not_scored=f"{what}{_place(error, user_dir)}")


def _place(error: BaseException, user_dir: Path) -> str:
    """Where in the user's code it was raised; empty if it was not raised there."""
    folder = user_dir.resolve()
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename).resolve()
        # A virtual environment in the folder holds the code of others.
        if file.is_relative_to(folder) and "site-packages" not in file.parts:
            return f" ({file.relative_to(folder)}, line {frame.lineno})"
    return ""


def _write(pipes: Pipes, message: msgspec.Struct) -> None:
    pipes.replies.write(msgspec.json.encode(message) + b"\n")
    pipes.replies.flush()
