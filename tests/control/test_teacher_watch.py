from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from control.outages import FAILURE, RUN, WEIGHED_S
from control.teacher_watch import TeacherWatch
from tests.control.stored import ROUTE, STUDENT, T0, put_pair, put_trace
from traces.store import Store
from traces.times import from_seconds

#: no request of these tests takes longer, seconds
LONGEST_S = 100.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "t.duckdb")
    yield store
    store.close()


def watched(store: Store, *steps: float) -> TeacherWatch:
    """A watch that has read in these steps, or all at once."""
    watch = TeacherWatch(ROUTE)
    for to in steps or (T0 + 1e6,):
        watch.read(store, to=to, longest_s=LONGEST_S)
    return watch


def test_the_p95_does_not_move_with_every_request(store: Store) -> None:
    for number in range(30):
        put_trace(store, T0 + number, latency_ms=100.0)
    watch = watched(store)
    for number in range(60):
        put_trace(store, T0 + 100 + number, latency_ms=110.0)
    watch.read(store, to=T0 + 1e6, longest_s=LONGEST_S)
    assert watch.p95_ms == pytest.approx(100.0)
    for number in range(500):
        put_trace(store, T0 + 200 + number, latency_ms=300.0)
    watch.read(store, to=T0 + 1e6, longest_s=LONGEST_S)
    assert watch.p95_ms == pytest.approx(300.0)


def test_failures_in_a_row_are_an_outage(store: Store) -> None:
    for number in range(RUN):
        put_trace(store, T0 + number, status=503, answer=None, latency_ms=0.0)
    put_trace(store, T0 + 9, latency_ms=0.0)
    outages = watched(store, T0 + 60).outages
    assert outages.out and outages.covers(T0 + 7) is True and outages.covers(T0 + 10) is None
    for number in range(RUN * FAILURE):
        put_trace(store, T0 + 20 + number, latency_ms=0.0)
    outages = watched(store).outages
    assert not outages.out and outages.windows == ((T0, T0 + 9),)


def test_in_how_many_steps_the_log_is_read_makes_no_difference(store: Store) -> None:
    for number in range(150):
        status = 503 if number in (1, 2, 3, 5, 6, 8, 40) else 200
        put_trace(store, T0 + number, status=status, latency_ms=0.0)
    whole = watched(store)
    assert whole.outages.windows == ((T0 + 1, T0 + 41),)
    steps = watched(store, *(T0 + 7.0 * number for number in range(1, 30)))
    assert steps.outages == whole.outages


def test_a_failure_of_a_teacher_that_is_rarely_asked_holds_nothing_up_for_long(
    store: Store,
) -> None:
    put_trace(store, T0, status=503)
    watch = watched(store, T0 + 60)
    assert watch.outages.covers(T0 + 30) is None
    watch.read(store, to=T0 + 2 * WEIGHED_S, longest_s=LONGEST_S)
    assert watch.outages.covers(T0 + 30) is False
    put_trace(store, T0 + 3 * WEIGHED_S)
    put_trace(store, T0 + 3 * WEIGHED_S + 1, status=503)
    watch.read(store, to=T0 + 3.5 * WEIGHED_S, longest_s=LONGEST_S)
    assert watch.outages.failures == 1
    assert watch.outages == watched(store, T0 + 3.5 * WEIGHED_S).outages


def test_a_request_is_known_when_it_ends_and_failed_since_it_began(store: Store) -> None:
    for number in range(RUN):
        put_trace(store, T0 + number, status=504, latency_ms=60_000.0)
    watch = watched(store, T0 + 30.0)
    assert watch.outages.failures == 0
    watch.read(store, to=T0 + 100.0, longest_s=LONGEST_S)
    assert watch.outages.out and watch.outages.covers(T0) is True


def test_a_callers_haste_is_no_failure(store: Store) -> None:
    for number in range(RUN):
        put_trace(store, T0 + number, status=504, finish="client_timeout", latency_ms=0.0)
    assert not watched(store).outages.out


def test_a_caller_who_leaves_a_teacher_that_hangs_got_no_answer(store: Store) -> None:
    for number in range(RUN):
        put_trace(store, T0 + number, status=503, answer=None, latency_ms=0.0)
    for number in range(RUN * FAILURE):
        put_trace(
            store, T0 + 20 + number, status=499, finish="client_disconnect", latency_ms=30_000.0
        )
    outages = watched(store).outages
    assert outages.out and outages.covers(T0 + 60) is True
    for number in range(RUN * FAILURE):
        put_trace(store, T0 + 200 + number, status=499, finish="client_disconnect", ttft_ms=50.0)
    assert not watched(store).outages.out, "of these the caller saw a part"


def replayed(store: Store, ts: float, outcome: str) -> None:
    """A request that the student served was replayed on the teacher."""
    trace_id = put_trace(store, ts, served_by="student", student=STUDENT)
    put_pair(store, trace_id, ts, outcome=outcome, kind="reverse_shadow")
    ref = f"{STUDENT}/1/{trace_id}"
    store.append("costs", [(from_seconds(ts), ROUTE, "reverse_shadow", 0.0, ref)])


def test_where_students_serve_everything_replays_say_how_the_teacher_is(store: Store) -> None:
    for number in range(RUN):
        put_trace(store, T0 + number, status=503, answer=None, latency_ms=0.0)
    for number in range(RUN * FAILURE):
        replayed(store, T0 + 20 + number, "pending")
    outages = watched(store).outages
    assert not outages.out and outages.windows == ((T0, T0 + 20),)
    for number in range(RUN):
        replayed(store, T0 + 300 + number, "teacher_failed")
    assert watched(store).outages.covers(T0 + 302) is True
