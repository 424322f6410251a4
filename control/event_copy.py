"""The copy of the event log in the trace store, and what a log that has lost rows gets from it.

Without its rows a student that a person rolled back would be registered anew, as the first
candidate again, and prove itself with the pairs of before.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from control.events import WAY_OUT, BrokenChain, EventLog
from router.errors import ChainError
from traces.store import Store

_log = logging.getLogger("limbeck.control")


class _Last(msgspec.Struct, frozen=True, kw_only=True):
    seq: int


class _Copied(msgspec.Struct, frozen=True, kw_only=True):
    seq: int
    hash: str
    #: the row as it was written
    body: str


def open_log(path: Path, store: Store, *, code_version: str) -> EventLog:
    """Open the log, with the rows that only its copy in ``store`` has still.

    Raises `BrokenChain` where log and copy contradict each other, too.
    """
    log = EventLog(path, code_version=code_version)
    try:
        _complete(log, store)
    except BaseException:
        log.close()
        raise
    return log


def copy_events(log: EventLog, store: Store) -> int:
    """Copy new rows into ``rollout_events``, where reports and people look; returns how many."""
    copied = store.one("last_copied_event", _Last)
    known = copied.seq if copied else 0
    fresh = log.events[known:]
    if not fresh:
        return 0
    bodies = log.lines()[known:]
    with store.transaction():
        for event, body in zip(fresh, bodies, strict=False):
            store.run(
                "insert_event",
                seq=event.seq,
                ts_us=round(event.ts * 1e6),
                route=event.route,
                student=event.student,
                event=event.event.value,
                stage_from=event.stage_from,
                stage_to=event.stage_to,
                actor=event.actor,
                reason=event.reason,
                report=event.report,
                body=body.decode(),
                prev_hash=event.prev_hash,
                hash=event.hash,
            )
    return len(fresh)


def _complete(log: EventLog, store: Store) -> None:
    """Compare the last row that both have; bring back what lies behind it in the copy."""
    lost = store.all("copied_events", _Copied, last_seq=log.last_seq)
    if lost and lost[0].seq <= log.last_seq:
        both = lost.pop(0)
        if both.hash != log.events[both.seq - 1].hash:
            raise BrokenChain(
                f"{log.path}: row {both.seq} is not the one that was copied into the trace store: "
                f"this is another log. {WAY_OUT}"
            )
    if not lost:
        return
    had = log.last_seq
    try:
        log.restore([row.body.encode() for row in lost])
    except ChainError as error:
        raise BrokenChain(
            f"{log.path}: it ends with row {had}, its copy in the trace store with row "
            f"{lost[-1].seq}, and that one does not hold either ({error}). No student gets traffic "
            "until this is settled: restore the data folder from a backup"
        ) from error
    _log.error(
        "%s: the rows behind row %d were lost; %d came back from the copy in the trace store",
        log.path,
        had,
        len(lost),
    )
