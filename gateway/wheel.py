"""One coarse timer wheel for every deadline of a worker.

A fast request costs one insertion and one removal; nothing is left behind when it is done.
"""

from __future__ import annotations

import asyncio
import logging
import time

TICK_S = 0.05
_PER_S = round(1 / TICK_S)

logger = logging.getLogger(__name__)


class Timer:
    """Something that the wheel calls when its time has come."""

    __slots__ = ("slot",)

    slot: int

    def on_due(self, now: float) -> None:
        """Do what is due; to be called again, ask the wheel again."""
        raise NotImplementedError


class Wheel:
    """Calls timers up to one tick late, never early. Times are seconds of `time.monotonic`."""

    def __init__(self) -> None:
        #: the time of the last tick: good enough for "when did a byte last arrive?"
        self.now = time.monotonic()
        self._slots: dict[int, set[Timer]] = {}
        self._next = int(self.now * _PER_S)

    def add(self, timer: Timer, at: float) -> None:
        """Call the timer at a time; a timer stands in the wheel once."""
        slot = max(int(at * _PER_S) + 1, self._next)
        timer.slot = slot
        timers = self._slots.get(slot)
        if timers is None:
            self._slots[slot] = {timer}
        else:
            timers.add(timer)

    def remove(self, timer: Timer) -> None:
        """Forget a timer; one that is not there is no error."""
        timers = self._slots.get(timer.slot)
        if timers is not None:
            timers.discard(timer)
            if not timers:
                del self._slots[timer.slot]

    def advance(self, now: float) -> None:
        """Call everything that is due."""
        self.now = now
        last = int(now * _PER_S)
        first, self._next = self._next, last + 1
        for slot in range(first, last + 1):
            for timer in self._slots.pop(slot, ()):
                try:
                    timer.on_due(now)
                except Exception:
                    # One broken timer must not end everybody's deadlines.
                    # Its class alone: the whole of it may hold a client's key and request.
                    logger.exception("a timer failed: %s", type(timer).__name__)

    async def run(self) -> None:
        """Turn until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            self.advance(time.monotonic())

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))
