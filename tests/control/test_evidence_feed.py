from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from control.candidates import CandidateKey
from control.evidence_feed import EvidenceFeed, consumed, difference
from control.outages import FAILURE, RUN, Outages, Window
from control.stored_pair import Sides
from router.pairs import Marks
from router.policy import GatePolicy, Policy
from tests.control.stored import ROUTE, STUDENT, T0
from traces.store import Store
from traces.times import from_seconds

KEY = CandidateKey(route=ROUTE, student=STUDENT, k=1)
POLICY = Policy(gate=GatePolicy(min_pairs=5))
FAR = T0 + 1e9


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "t.duckdb")
    yield store
    store.close()


def put_pair(
    store: Store, number: int, *, outcome: str = "scored", kind: str = "shadow", **changes: object
) -> str:
    """A pair at second ``number``; both sides right unless said otherwise."""
    trace_id = f"00000000-0000-7000-8000-{number:012d}"
    ts_us = int((T0 + number) * 1e6)
    values: dict[str, object] = {
        **KEY.params, "trace_id": trace_id, "ts_us": ts_us, "kind": kind, "outcome": "pending",
        "metric_hash": "m1", "propensity": 1.0, "coverage": None, "cluster": trace_id,
        "deadline_us": ts_us + 60_000_000, "teacher_answer": "A", "student_answer": "A",
    }  # fmt: skip
    store.run("insert_pair", **values)
    if outcome == "scored":
        scores: dict[str, object] = {
            "teacher_score": 1.0, "student_score": 1.0, "control_score": 0.0,
            "coverage": "all", "metric_hash": "m1",
        }  # fmt: skip
        scores |= changes
        store.run(
            "record_scores",
            **KEY.params,
            trace_ids=[trace_id],
            metric_hash=scores.pop("metric_hash"),
            **{f"{name}s": [value] for name, value in scores.items()},
        )
    elif outcome != "pending":
        drop_pair(store, trace_id, outcome)
    return trace_id


def drop_pair(store: Store, trace_id: str, outcome: str) -> None:
    store.run("drop_pairs", **KEY.params, trace_ids=[trace_id], outcomes=[outcome])


def feed_of(store: Store) -> EvidenceFeed:
    return EvidenceFeed(store, KEY, POLICY, Marks(cap_from=T0))


def put_replay(store: Store, trace_id: str, number: float, *, kind: str = "shadow") -> None:
    """The other side was asked at second ``number``."""
    ref = f"{STUDENT}/1/{trace_id}"
    store.append("costs", [(from_seconds(T0 + number), ROUTE, kind, 0.0, ref)])


def consume(
    feed: EvidenceFeed, *, to: float = 1000, known_to: float = FAR, **outages: Outages
) -> int:
    sides = Sides(known_to=known_to, **outages)
    return feed.consume(through=T0 + to, metric_hash="m1", sides=sides)


def outcomes(store: Store) -> list[tuple[int | None, str]]:
    return [(row.seq, row.outcome) for row in consumed(store, KEY)]


def test_pairs_are_consumed_in_request_order_up_to_the_first_undecided_one(store: Store) -> None:
    feed = feed_of(store)
    put_pair(store, 3)
    put_pair(store, 1)
    pending = put_pair(store, 2, outcome="pending")
    assert consume(feed) == 1
    assert [row.ts for row in consumed(store, KEY)] == [T0 + 1]
    drop_pair(store, pending, "unlabelled")
    assert consume(feed) == 2
    assert outcomes(store) == [(1, "scored"), (2, "unlabelled"), (3, "scored")]
    assert feed.evidence.summary(T0).label_coverage == pytest.approx(2 / 3)


def test_requests_that_may_not_all_be_known_are_not_consumed(store: Store) -> None:
    feed = feed_of(store)
    put_pair(store, 1)
    put_pair(store, 2)
    assert consume(feed, to=1.5) == 1


def test_a_pair_behind_the_watermark_is_dropped_as_late(store: Store) -> None:
    feed = feed_of(store)
    put_pair(store, 5)
    consume(feed)
    put_pair(store, 4)
    put_pair(store, 6)
    consume(feed)
    assert [row.outcome for row in consumed(store, KEY)] == ["scored", "late", "scored"]
    assert feed.evidence.summary(T0).n_all == 2


def test_a_restart_leaves_the_watermark_where_it_was(store: Store) -> None:
    feed = feed_of(store)
    put_pair(store, 5)
    consume(feed)
    put_pair(store, 3)
    consume(feed)
    again = feed_of(store)
    put_pair(store, 4)
    consume(again)
    assert [row.outcome for row in consumed(store, KEY)] == ["scored", "late", "late"]


def test_what_waits_across_a_restart_is_not_late(store: Store) -> None:
    for number in (1, 2, 3):
        put_pair(store, number)
    consume(feed_of(store), to=1.5)
    consume(feed_of(store))
    assert [row.outcome for row in consumed(store, KEY)] == ["scored"] * 3


def outage(start: float, end: float) -> Outages:
    """Out from one second to another; over and decided."""
    return Outages(windows=(Window(T0 + start, T0 + end),))


def test_an_outage_excludes_all_pairs_of_its_span_survivors_too(store: Store) -> None:
    feed = feed_of(store)
    for number in (1, 3, 5):
        put_pair(store, number)
    consume(feed, teacher=outage(2, 4))
    assert [row.outcome for row in consumed(store, KEY)] == ["scored", "outage", "scored"]
    summary = feed.evidence.summary(T0)
    assert (summary.n_all, summary.outage_windows) == (2, 1)
    assert feed_of(store).mismatch is None


def test_a_replay_is_judged_by_when_it_was_made(store: Store) -> None:
    """Replays lag behind the requests: the student was out when it was asked, not before."""
    feed = feed_of(store)
    for number in (1, 2, 3):
        put_replay(store, put_pair(store, number), number + 100)
    consume(feed, student=outage(101.5, 102.5))
    assert [row.outcome for row in consumed(store, KEY)] == ["scored", "outage", "scored"]
    again = feed_of(store)
    assert again.mismatch is None
    assert again.evidence.summary(T0).n_all == 2


def test_each_side_was_asked_at_its_own_time(store: Store) -> None:
    feed = feed_of(store)
    for number, kind in ((1, "shadow"), (2, "reverse_shadow")):
        put_replay(store, put_pair(store, number, kind=kind), number + 100, kind=kind)
    consume(feed, student=outage(2, 2), teacher=outage(1, 1))
    assert [row.outcome for row in consumed(store, KEY)] == ["outage", "outage"]


def test_replays_at_the_end_of_the_log_wait_until_health_is_known(store: Store) -> None:
    feed = feed_of(store)
    for number in (1, 2):
        put_replay(store, put_pair(store, number), number + 100)
    assert consume(feed, known_to=T0 + 101.5) == 1
    assert consume(feed, known_to=T0 + 102.5) == 1


def test_an_open_excursion_holds_the_watermark_at_its_start(store: Store) -> None:
    feed = feed_of(store)
    for number in (1, 3, 5):
        put_pair(store, number)
    student = Outages().failed(began=T0 + 2, ended=T0 + 2)
    assert consume(feed, student=student) == 1
    assert consume(feed, student=student.answered(ended=T0 + 3)) == 0
    over = student.answered(ended=T0 + 3).answered(ended=T0 + 9, n=FAILURE)
    assert consume(feed, student=over) == 2
    assert [row.outcome for row in consumed(store, KEY)] == ["scored"] * 3


def test_pairs_that_an_excursion_held_back_leave_when_it_was_an_outage(store: Store) -> None:
    feed = feed_of(store)
    for number in (1, 3, 5):
        put_pair(store, number)
    student = Outages().failed(began=T0 + 2, ended=T0 + 2)
    assert consume(feed, student=student) == 1
    student = student.answered(ended=T0 + 3)
    for second in range(RUN):
        student = student.failed(began=T0 + 4 + second, ended=T0 + 4 + second)
    assert consume(feed, student=student) == 2
    assert [row.outcome for row in consumed(store, KEY)] == ["scored", "outage", "outage"]


def test_scores_of_another_metric_are_no_evidence(store: Store) -> None:
    feed = feed_of(store)
    put_pair(store, 1, metric_hash="m0")
    consume(feed)
    assert outcomes(store) == [(1, "changed")]
    assert feed.evidence.summary(T0).n_all == 0


def test_each_pair_counts_once_across_restarts(store: Store) -> None:
    for number in range(1, 21):
        put_pair(store, number, student_score=float(number % 3 > 0))
    assert consume(feed_of(store)) == 20
    again = feed_of(store)
    assert again.mismatch is None
    assert consume(again) == 0
    assert again.evidence.summary(T0).n_all == 20
    put_pair(store, 21)
    assert consume(again) == 1
    assert [row.seq for row in consumed(store, KEY)] == list(range(1, 22))


def test_replayed_evidence_that_differs_from_the_stored_stops_the_feed(store: Store) -> None:
    for number in range(1, 11):
        put_pair(store, number)
    feed = feed_of(store)
    consume(feed)
    state = msgspec.json.decode(msgspec.json.encode(feed.evidence.state()))
    state["forms"][0]["gate"]["good"]["log_wealth"][0] += 1e-6
    store.run("forget_checkpoints", **KEY.params)
    store.run("insert_checkpoint", **KEY.params, seq=10, ts_us=0,
              state=msgspec.json.encode(state).decode())  # fmt: skip
    feed = feed_of(store)
    assert feed.mismatch is not None and "log_wealth[0]" in feed.mismatch
    put_pair(store, 11)
    assert consume(feed) == 0
    feed.accept()
    assert consume(feed) == 1
    assert feed_of(store).mismatch is None


def test_pairs_without_their_stored_state_stop_the_feed(store: Store) -> None:
    put_pair(store, 1)
    consume(feed_of(store))
    second = put_pair(store, 2)
    store.run("consume_pairs", **KEY.params, trace_ids=[second], seqs=[2], outcomes=["scored"])
    assert "ends with pair 1, the pairs with 2" in (feed_of(store).mismatch or "")


def test_a_failed_commit_leaves_pairs_and_state_as_they_were(store: Store) -> None:
    feed = feed_of(store)
    put_pair(store, 1)
    consume(feed)
    put_pair(store, 2, teacher_score=1.5)
    with pytest.raises(ValueError, match=r"1\.5"):
        consume(feed)
    assert outcomes(store) == [(1, "scored")]
    assert feed_of(store).mismatch is None


def test_difference_names_the_place_and_allows_rounding() -> None:
    left = {"a": [1.0, 2.0], "b": None}
    assert difference(left, {"a": [1.0 + 1e-12, 2.0], "b": None}) is None
    assert difference(left, {"a": [1.0, 2.1], "b": None}) == "state.a[1]"
    assert difference(left, {"a": [1.0], "b": None}) == "state.a"
    assert difference(left, {"c": 1}) is None, "only what both have is compared"
