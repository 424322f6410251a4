"""The collector: moves frames from the spool into the trace store, each exactly once.

The offset of a segment is stored in the transaction of its rows; a segment is deleted only after
that commit. See docs/decisions/0002-spool-and-duckdb.md.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from traces.decode import CollectorContext
from traces.rows import OpenRequestRow
from traces.spool import (
    default_reserve,
    end_of_frames,
    frame_follows,
    free_bytes,
    list_segments,
    quarantine,
    read_frames,
    remove_leftovers,
)
from traces.spool.segments import Segment, is_orphan, writers_present
from traces.store.batch import Batch
from traces.store.database import Store
from traces.store.errors import DiskFullError, RowsError
from traces.times import to_seconds

#: frames of one transaction
_BATCH = 5_000
#: and their bytes: decoded they take several times as much memory
_BATCH_BYTES = 64 << 20
#: a refused batch is cut by this until the frame at fault is alone
_CUT = 8
_SWEEP_S = 60.0


class CollectorStep(msgspec.Struct, frozen=True, kw_only=True):
    """What one step did."""

    frames: int = 0
    traces: int = 0
    calls: int = 0
    feedback: int = 0
    gaps: int = 0
    dead_letters: int = 0
    #: open requests that were given up
    aborted: int = 0
    #: segments that are fully in, and deleted
    removed: int = 0
    #: segments with damage in the middle, moved to ``quarantine``
    quarantined: int = 0
    #: there is more to read at once
    more: bool = False


class _LedgerRow(msgspec.Struct, frozen=True):
    segment: str
    read_to: int


class _OpenRequest(msgspec.Struct, frozen=True):
    trace_id: str
    writer: str
    deadline: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Read:
    """What one step took from one segment."""

    segment: Segment
    payloads: list[bytes]
    read_to: int
    #: nothing can follow: its writer let go of it, and it was read to the end
    finished: bool


class Collector:
    """Empties a spool folder, step by step. One at a time, in the process that owns the store."""

    def __init__(
        self,
        store: Store,
        spool_folder: Path,
        context: CollectorContext,
        *,
        min_free_bytes: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``min_free_bytes``: where writers stop; the default is theirs."""
        #: may be replaced between steps, when the configuration changes
        self.context = context
        self._store = store
        self._folder = spool_folder
        # The spool's writers stop at the reserve; what it holds by then must still get in.
        disk = store.path.parent
        self._min_free = (default_reserve(disk) if min_free_bytes is None else min_free_bytes) // 2
        self._clock = clock
        self._limit = _BATCH
        self._last_writer = ""
        self._next_sweep = 0.0
        self._ledger: dict[str, int] = {}
        self._open: dict[str, _OpenRequest] = {}
        self._stale = True
        spool_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._forget_vanished()

    def step(self) -> CollectorStep:
        """Read some frames, store them, delete what is fully in.

        Raises `StoreError` when the store fails; nothing is lost or doubled by the next step then.
        That the disk is nearly full is such a failure: DuckDB must not find out by itself.
        """
        self._check_disk()
        now = self._clock()
        self._sweep(now)
        if self._stale:
            self._load()
        turn = self._last_writer
        reads, more = self._read(self._limit)
        batch = self._decode(reads, now)
        # a failed commit may have happened all the same: go on from what the ledger says then
        self._stale = True
        try:
            self._store_batch(batch, reads)
        except RowsError as error:
            if batch.frames > 1:
                self._limit = max(1, min(self._limit, batch.frames) // _CUT)
                self._last_writer = turn  # the same frames again, fewer of them
                return CollectorStep(more=True)
            batch = self._bury(reads, error, now)
        self._stale = False
        self._limit = min(_BATCH, self._limit * 2)
        removed, quarantined = self._clear(reads)
        aborted = 0 if more else self._abort(now)
        return CollectorStep(
            frames=batch.frames,
            traces=len(batch.traces),
            calls=len(batch.calls),
            feedback=len(batch.feedback),
            gaps=len(batch.gaps),
            dead_letters=len(batch.dead_letters),
            aborted=aborted,
            removed=removed,
            quarantined=quarantined,
            more=more,
        )

    def drain(self) -> None:
        """Step until a step finds nothing to read; ends when the writers pause."""
        step = self.step()
        while step.more or step.frames:
            step = self.step()

    def waiting_bytes(self) -> int:
        """Return the bytes of the spool's frames that are not in the store yet."""
        waiting = 0
        for segment in list_segments(self._folder):
            read_to = self._ledger.get(segment.name, 0)
            with contextlib.suppress(FileNotFoundError):  # it is fully in by now
                waiting += end_of_frames(segment.path, read_to) - read_to
        return waiting

    # reading

    def _check_disk(self) -> None:
        disk = self._store.path.parent
        if free_bytes(disk) < self._min_free:
            raise DiskFullError(
                f"{disk}: less than {self._min_free >> 20} MB of the disk are free, so nothing is "
                "collected, and no evidence grows: make room there, or lower gateway.min_free_mb"
            )

    def _read(self, limit: int) -> tuple[list[_Read], bool]:
        """Take at most ``limit`` frames; also tell whether a limit left any behind."""
        reads: list[_Read] = []
        room = _BATCH_BYTES
        for segment in self._in_turn(list_segments(self._folder)):
            try:
                # first: after a positive answer nothing is appended, so "read to the end" is final
                orphan = is_orphan(segment.path)
                start = self._ledger.get(segment.name, 0)
                frames = read_frames(segment.path, start, limit=limit, max_bytes=room)
            except FileNotFoundError:
                continue
            reads.append(
                _Read(
                    segment=segment,
                    payloads=frames.payloads,
                    read_to=frames.offset,
                    finished=orphan and not frames.more,
                )
            )
            if frames.more:
                self._last_writer = segment.writer
                return reads, True
            limit -= len(frames.payloads)
            room -= sum(map(len, frames.payloads))
        return reads, False

    def _in_turn(self, segments: list[Segment]) -> Iterable[Segment]:
        """Begin behind the writer that used up the last step, so that none waits for ever."""
        later = [segment for segment in segments if segment.writer > self._last_writer]
        return [*later, *(segment for segment in segments if segment.writer <= self._last_writer)]

    def _decode(self, reads: list[_Read], now: float) -> Batch:
        batch = Batch(context=self.context, now=now)
        for read in reads:
            for payload in read.payloads:
                batch.add(payload, segment=read.segment.name, writer=read.segment.writer)
        return batch

    # storing

    def _store_batch(self, batch: Batch, reads: list[_Read]) -> None:
        offsets = {
            read.segment.name: read.read_to
            for read in reads
            if read.read_to != self._ledger.get(read.segment.name, 0)
        }
        if not offsets:
            return
        store = self._store
        with store.transaction():
            if batch.ended:
                store.run("drop_unfinished_traces", trace_ids=batch.ended)
                if self._open:
                    store.run("drop_open_requests", trace_ids=batch.ended)
            store.append("traces", list(batch.traces.values()))
            store.append("open_requests", list(batch.opened.values()))
            store.append("calls", batch.calls)
            store.append("feedback", batch.feedback)
            store.append("gaps", batch.gaps)
            store.append("dead_letters", batch.dead_letters)
            store.run("forget_segments", segments=list(offsets))
            store.append("ingest_ledger", list(offsets.items()))
        self._ledger.update(offsets)
        for trace_id in batch.ended:
            self._open.pop(trace_id, None)
        for row in batch.opened.values():
            self._open[row.trace_id] = _open_request(row)

    def _bury(self, reads: list[_Read], error: RowsError, now: float) -> Batch:
        """Store the one frame that the tables refuse as a dead letter."""
        batch = Batch(context=self.context, now=now, frames=1)
        for read in reads:
            for payload in read.payloads:
                batch.add_dead_letter(payload, segment=read.segment.name, error=error)
        self._store_batch(batch, reads)
        return batch

    # afterwards

    def _clear(self, reads: list[_Read]) -> tuple[int, int]:
        """Remove the segments that are finished, then their ledger rows."""
        done = [read for read in reads if read.finished]
        quarantined = 0
        for read in done:
            if frame_follows(read.segment.path, read.read_to):
                quarantine(read.segment.path)
                quarantined += 1
            else:
                read.segment.path.unlink()
        known = [read.segment.name for read in done if read.segment.name in self._ledger]
        self._forget(known)
        return len(done) - quarantined, quarantined

    def _abort(self, now: float) -> int:
        """Give up open requests whose writer is gone and read to the end, or that are overdue."""
        if not self._open:
            return 0
        # listed after the segments were tested: a live writer has its next one by then
        present = writers_present(self._folder)
        lost = [
            request.trace_id
            for request in self._open.values()
            if request.writer not in present or request.deadline < now
        ]
        if lost:
            with self._store.transaction():
                self._store.run("abort_traces", trace_ids=lost)
                self._store.run("drop_open_requests", trace_ids=lost)
            for trace_id in lost:
                del self._open[trace_id]
        return len(lost)

    def _sweep(self, now: float) -> None:
        if now >= self._next_sweep:
            remove_leftovers(self._folder, now=now)
            self._next_sweep = now + _SWEEP_S

    # the ledger

    def _load(self) -> None:
        self._ledger = {row.segment: row.read_to for row in self._store.all("ledger", _LedgerRow)}
        rows = self._store.all("open_requests", _OpenRequest)
        self._open = {row.trace_id: row for row in rows}
        self._stale = False

    def _forget_vanished(self) -> None:
        """Drop ledger rows of segments that were deleted just before the last process ended."""
        self._load()
        present = {segment.name for segment in list_segments(self._folder)}
        self._forget([name for name in self._ledger if name not in present])

    def _forget(self, names: list[str]) -> None:
        if names:
            self._store.run("forget_segments", segments=names)
            for name in names:
                self._ledger.pop(name, None)


def _open_request(row: OpenRequestRow) -> _OpenRequest:
    return _OpenRequest(trace_id=row.trace_id, writer=row.writer, deadline=to_seconds(row.deadline))
