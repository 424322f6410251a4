"""Feeds decided pairs to the router's evidence: strictly in request order, each exactly once.

The watermark is the last consumed pair. It moves in one transaction with the pairs' places and the
state of the evidence. At start the state is computed again from the pairs and compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from control.candidates import CandidateKey
from control.outages import Window
from control.shadow import PENDING
from control.stored_pair import Sides, StoredPair
from router.evidence import Evidence, EvidenceState
from router.pairs import Coverage, Kind, Marks, Outcome, Pair
from router.policy import Policy
from traces.store import Store

_BATCH = 500
#: two computations of one logarithm may differ by this
_TOLERANCE = 1e-9
#: the request became known after the watermark had passed it
LATE = "late"
#: scored by another metric than the candidate's
CHANGED = "changed"
#: stored outcomes that mean the same to the router; others are no evidence of any kind
_OUTCOMES = {outcome.value: outcome for outcome in Outcome} | {"no_gold": Outcome.UNLABELLED}


class _Last(msgspec.Struct, frozen=True, kw_only=True):
    seq: int
    ts_us: int


class _Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    seq: int
    state: str

    @property
    def decoded(self) -> EvidenceState:
        return msgspec.json.decode(self.state, type=EvidenceState)


class EvidenceFeed:
    """The evidence of one candidate, kept up with its pairs."""

    def __init__(self, store: Store, key: CandidateKey, policy: Policy, marks: Marks) -> None:
        """Compute the evidence from the stored pairs."""
        self._store = store
        self._key = key
        last = store.one("last_consumed", _Last, **key.params)
        self._ts_us = last.ts_us if last else 0
        self._seq = last.seq if last else 0
        #: outages that the evidence knows
        self._excluded: set[Window] = set()
        stored = store.one("evidence_checkpoint", _Checkpoint, **key.params)
        # Under the marks that the stored state was made under: events may have come since.
        then = stored.decoded.marks if stored else marks
        self.evidence = replay(store, key, policy, then)
        #: why the computed evidence is not the stored one; None: it is
        self.mismatch = self._compare(stored)
        self.evidence.follow(marks)

    def follow(self, marks: Marks) -> None:
        """Begin, restart or end guards as the rollout says."""
        self.evidence.follow(marks)

    def accept(self) -> None:
        """Go on with what was computed; a person has looked at the difference."""
        with self._store.transaction():
            self._checkpoint()
        self.mismatch = None

    def consume(self, *, through: float, metric_hash: str, sides: Sides) -> int:
        """Take the decided pairs up to the first undecided one; returns how many.

        ``through``: all requests up to this moment (Unix seconds) are known, and finished. A pair
        is undecided while its scores are, and while it is open whether it lies in an outage.
        """
        if self.mismatch is not None:
            return 0
        rows = self._store.all(
            "next_pairs",
            StoredPair,
            **self._key.params,
            through_us=round(through * 1e6),
            at_most=_BATCH,
        )
        self._exclude(sides)
        taken: list[StoredPair] = []
        for row in rows:
            if row.outcome == PENDING:
                break
            out = sides.out(row) if row.outcome == Outcome.SCORED else False
            if out is None:
                break
            taken.append(self._place(row, out=out, metric_hash=metric_hash))
        if taken:
            self._commit(taken)
        return len(taken)

    def _exclude(self, sides: Sides) -> None:
        """Declare the outages that are over, each once."""
        windows = {*sides.student.windows, *sides.teacher.windows} - self._excluded
        for window in windows:
            if window.end >= self.evidence.marks.since:
                self.evidence.exclude(window.start, window.end)
        self._excluded |= windows

    def _place(self, row: StoredPair, *, out: bool, metric_hash: str) -> StoredPair:
        """Give the pair its place, and the outcome that it has there."""
        outcome = row.outcome
        if outcome == Outcome.SCORED:
            if out:
                outcome = Outcome.OUTAGE.value
            elif row.ts_us < self._ts_us:
                outcome = LATE
            elif row.metric_hash != metric_hash:
                outcome = CHANGED
        self._seq += 1
        self._ts_us = max(self._ts_us, row.ts_us)
        return msgspec.structs.replace(row, seq=self._seq, outcome=outcome)

    def _commit(self, taken: Sequence[StoredPair]) -> None:
        """Pairs, places and state, all or nothing.

        After an exception this feed is of no use: only a new one knows what was stored.
        """
        with self._store.transaction():
            for row in taken:
                add(self.evidence, row)
            self._store.run(
                "consume_pairs",
                **self._key.params,
                trace_ids=[row.trace_id for row in taken],
                seqs=[row.seq for row in taken],
                outcomes=[row.outcome for row in taken],
            )
            self._checkpoint()

    def _checkpoint(self) -> None:
        self._store.run("forget_checkpoints", **self._key.params)
        self._store.run(
            "insert_checkpoint",
            **self._key.params,
            seq=self._seq,
            ts_us=self._ts_us,
            state=msgspec.json.encode(self.evidence.state()).decode(),
        )

    def _compare(self, stored: _Checkpoint | None) -> str | None:
        if stored is None:
            return None if self._seq == 0 else f"{self._seq} consumed pairs have no stored state"
        if stored.seq != self._seq:
            return f"the stored state ends with pair {stored.seq}, the pairs with {self._seq}"
        state = stored.decoded
        for start, end in state.outages.windows:
            self.evidence.exclude(start, end)
        place = difference(_wealths(state), _wealths(self.evidence.state()))
        return None if place is None else f"replayed and stored evidence differ in {place}"


def _wealths(state: EvidenceState) -> dict[str, Any]:
    """The logarithms that decide, by bar: of another bar there is nothing to compare."""
    return {
        f"{form.gate.form.kind} {form.gate.form.bar}": msgspec.to_builtins(
            {
                "good": form.gate.good,
                "bad": form.gate.bad,
                "all_copies": form.futility_all,
                "control": form.control,
                "guard": form.guard.bar if form.guard else None,
            }
        )
        for form in state.forms
    }


def replay(store: Store, key: CandidateKey, policy: Policy, marks: Marks) -> Evidence:
    """Compute a candidate's evidence from its consumed pairs alone."""
    evidence = Evidence(policy, k=key.k, marks=marks)
    for row in consumed(store, key):
        add(evidence, row)
    return evidence


def consumed(store: Store, key: CandidateKey) -> list[StoredPair]:
    """All pairs behind the watermark, in the order in which they were consumed."""
    return store.all("consumed_pairs", StoredPair, **key.params)


def add(evidence: Evidence, row: StoredPair) -> None:
    """Add a consumed pair, unless it is no evidence of any kind."""
    outcome = _OUTCOMES.get(row.outcome)
    if outcome is None or row.seq is None:
        return
    evidence.add(
        Pair(
            seq=row.seq,
            ts=row.ts,
            kind=Kind(row.kind),
            outcome=outcome,
            teacher=row.teacher_score,
            student=row.student_score,
            control=row.control_score,
            weight=row.pair_weight,
            coverage=Coverage(row.coverage or Coverage.ALL),
            cluster=row.cluster,
        )
    )


def difference(left: Any, right: Any, place: str = "state") -> str | None:
    """Where two states (JSON values) differ by more than rounding; None: nowhere."""
    if isinstance(left, dict) and isinstance(right, dict):
        common = [name for name in left if name in right]
        pairs = [(left[name], right[name], f"{place}.{name}") for name in common]
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple):
        if len(left) != len(right):
            return place
        pairs = [(a, b, f"{place}[{n}]") for n, (a, b) in enumerate(zip(left, right, strict=True))]
    elif isinstance(left, float) and isinstance(right, int | float):
        return None if math.isclose(left, right, rel_tol=0, abs_tol=_TOLERANCE) else place
    else:
        return None if left == right else place
    return next((found for a, b, at in pairs if (found := difference(a, b, at))), None)
