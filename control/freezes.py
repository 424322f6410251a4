"""Freezes: nothing goes up while requests are not recorded, and until things have been calm.

What is missing is known from the log (gaps that workers report), from the folder (damaged segments)
and from the disk (no room to record in). All of it outlives control. Missing data never promotes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from control.collecting import Collecting
from control.config.values import Config, RouteConfig
from control.report import words
from router.view import duration
from traces.spool import SEGMENT_BYTES, default_reserve, free_bytes, quarantined, usage
from traces.store import Store

_WHY = {
    "quota": "the spool was at its limit",
    "reserve": "the disk was nearly full",
    "disk": "no space was left on the disk",
    "too_large": "larger than the spool",
}


class Loss(NamedTuple):
    """Something that is missing from the log, or goes missing now."""

    #: Unix seconds; infinite: it goes on
    end: float
    #: in words
    what: str


class _Gap(msgspec.Struct, frozen=True, kw_only=True):
    ts_from: float
    ts_to: float
    n: int
    reasons: tuple[str, ...]


class Freezes:
    """Knows what is missing from the log, whatever the route: a lost request names none."""

    def __init__(self, config: Config, store: Store, spool: Path, collecting: Collecting) -> None:
        self._store = store
        self._spool = spool
        self._collecting = collecting
        self._max_bytes = config.gateway.max_spool_bytes
        self._min_free_bytes = config.gateway.min_free_bytes
        self._longest_s = max(
            (route.policy.rollout.settle_s for route in config.routes.values()), default=0.0
        )
        #: gaps that the collector had stored when the table was read last
        self._read_at: int | None = None
        self._gap: Loss | None = None
        # Workers report a gap with their first record after it: until then this is all we know.
        self._full: Loss | None = None

    def of(self, route: RouteConfig) -> str | None:
        """Why nothing of a route may go up now, in words; None: nothing is in the way."""
        now = time.time()
        losses = (self._no_room(now), self._newest_gap(), self._newest_damage())
        return freeze(
            (loss for loss in losses if loss is not None),
            settle_s=route.policy.rollout.settle_s,
            now=now,
        )

    def _no_room(self, now: float) -> Loss | None:
        what = self._collecting.disk_full or self._spool_full()
        if what is not None:
            self._full = Loss(end=now, what=f"there was no room to record requests: {what}")
            return Loss(end=math.inf, what=what)
        return self._full

    def _spool_full(self) -> str | None:
        """As a worker sees it that has to begin a segment."""
        spool, room = self._spool, min(SEGMENT_BYTES, self._max_bytes // 2)
        if usage(spool).waiting + room > self._max_bytes:
            return (
                f"{spool} is at its limit of {self._max_bytes >> 20} MB, so no request is "
                "recorded: see why nothing is collected, or raise gateway.max_spool_mb"
            )
        reserve = self._min_free_bytes
        reserve = default_reserve(spool) if reserve is None else reserve
        if free_bytes(spool) - room < reserve:
            return (
                f"{spool}: less than {reserve >> 20} MB of the disk are free, so no request is "
                "recorded: make room there, or lower gateway.min_free_mb"
            )
        return None

    def _newest_gap(self) -> Loss | None:
        stored = self._collecting.gaps
        if stored != self._read_at:
            gap = self._store.one("newest_gap", _Gap, within_s=self._longest_s)
            self._gap = None if gap is None else _missing(gap)
            self._read_at = stored
        return self._gap

    def _newest_damage(self) -> Loss | None:
        written = max(((at, path.name) for path, at in quarantined(self._spool)), default=None)
        if written is None:
            return None
        at, name = written
        return Loss(
            end=at, what=f"what segment {name} held behind its damage is missing (spool/quarantine)"
        )


def freeze(losses: Iterable[Loss], *, settle_s: float, now: float) -> str | None:
    """The freeze that lasts longest, in words; None: there is none."""
    last = max(losses, default=None)
    if last is None or now >= last.end + settle_s:
        return None
    if math.isinf(last.end):
        return f"{last.what}; nothing goes up until {duration(settle_s)} after that"
    return f"{last.what}; nothing goes up until {words.moment(last.end + settle_s)} UTC"


def _missing(gap: _Gap) -> Loss:
    why = ", ".join(_WHY.get(reason, reason) for reason in gap.reasons)
    what = (
        f"{words.plural(gap.n, 'record')} of requests and labels, {words.moment(gap.ts_from)} to "
        f"{words.moment(gap.ts_to)} UTC, {'is' if gap.n == 1 else 'are'} missing: {why}"
    )
    return Loss(end=gap.ts_to, what=what)
