"""The event stream of a job: ``events.jsonl``, appended by the one process that holds the job.

A job's state is what its events say, so it survives every restart. A torn last line (the writer
was killed) is skipped by readers and ended by the next writer.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal

import msgspec

EVENTS_FILE = "events.jsonl"

EventType = Literal[
    "started",  # a worker took the job
    "progress",  # it got further: stage, step, loss, eta
    "checkpoint",  # a state from which it can resume is on disk
    "interrupted",  # it stopped, and will be resumed
    "crashed",  # its worker died without a word
    "succeeded",
    "failed",
    "cancelled",
]
TERMINAL: frozenset[EventType] = frozenset({"succeeded", "failed", "cancelled"})


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the stream."""

    type: EventType
    #: Unix seconds
    time: float
    message: str = ""
    #: what the worker is at: features, fit, train, convert ...
    stage: str | None = None
    step: int | None = None
    total: int | None = None
    loss: float | None = None
    eval_loss: float | None = None
    #: seconds until the job is done, as estimated now
    eta_s: float | None = None
    #: of a failure: OpenAI's ``error.code``
    code: str | None = None
    trained_tokens: int | None = None


class EventLog:
    """Appends events. Each is one write, so that readers see whole lines."""

    def __init__(self, job: Path) -> None:
        self._path = job / EVENTS_FILE

    def add(
        self,
        type: EventType,
        message: str,
        *,
        stage: str | None = None,
        step: int | None = None,
        total: int | None = None,
        loss: float | None = None,
        eval_loss: float | None = None,
        eta_s: float | None = None,
        code: str | None = None,
        trained_tokens: int | None = None,
    ) -> None:
        event = Event(
            type=type,
            time=round(time.time(), 3),
            message=message,
            stage=stage,
            step=step,
            total=total,
            loss=loss,
            eval_loss=eval_loss,
            eta_s=None if eta_s is None else round(eta_s, 1),
            code=code,
            trained_tokens=trained_tokens,
        )
        line = msgspec.json.encode(event) + b"\n"
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":
                line = b"\n" + line
            os.write(handle, line)
            if type in TERMINAL:
                os.fsync(handle)
        finally:
            os.close(handle)


def read_events(job: Path) -> list[Event]:
    """Return the events of a job's folder, oldest first."""
    try:
        data = (job / EVENTS_FILE).read_bytes()
    except FileNotFoundError:
        return []
    events = []
    for line in data.split(b"\n"):
        try:
            events.append(_decode(line))
        except msgspec.MsgspecError:
            continue  # blank or torn
    return events


def is_terminal_log(job: Path) -> bool:
    """Say whether the job's last event is its end."""
    events = read_events(job)
    return bool(events) and events[-1].type in TERMINAL


_decode = msgspec.json.Decoder(Event).decode
