from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from control.outages import FAILURE, RUN, Window
from control.student_watch import StudentWatch
from router.events import Health
from router.pairs import Marks
from router.policy import DAY_S, GuardPolicy
from router.stages import Stage
from router.state import Fault, Rollout
from tests.control.stored import ROUTE, STUDENT, T0, put_pair, put_trace
from traces.store import Store

POLICY = GuardPolicy()
#: a low level, which a few requests a day raise
BUSY = GuardPolicy(availability_arl=10.0)
HOUR_S = 3_600.0
#: no request of these tests takes longer, seconds
LONGEST_S = 100.0
ROLLOUT = Rollout(student=STUDENT, k=1, stage=Stage.R25, entered=T0)
SERVED: dict[str, Any] = {"served_by": "student", "student": STUDENT, "student_ms": 50.0}
FELL_BACK: dict[str, Any] = {"fallback": "timeout", "fallback_student": STUDENT, "student_ms": 90.0}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "t.duckdb")
    yield store
    store.close()


def fresh(*, started: float = T0, chunk: int = 50_000) -> StudentWatch:
    return StudentWatch(ROUTE, STUDENT, POLICY, started=started, chunk=chunk)


def read(
    watch: StudentWatch,
    store: Store,
    *,
    to: float = T0 + 1e6,
    rollout: Rollout = ROLLOUT,
    p95_ms: float | None = None,
) -> Health:
    watch.read(store, rollout, to=to, longest_s=LONGEST_S, p95_ms=p95_ms)
    return watch.health(breakers_open_since=None, silent=None, answers_since=T0, now=to)


def health_of(store: Store) -> Health:
    return read(fresh(), store)


def test_everything_that_was_sent_to_the_student_counts_and_nothing_else(
    store: Store,
) -> None:
    put_trace(store, T0 + 1, **SERVED)
    put_trace(store, T0 + 2, **FELL_BACK)
    put_trace(store, T0 + 3)
    put_trace(store, T0 + 4, served_by="student", student="s0-other")
    # A stale prompt says nothing about the student's health.
    put_trace(store, T0 + 5, fallback="stale", fallback_student=STUDENT)
    # Nor does a caller's haste.
    put_trace(store, T0 + 6, fallback="client_deadline", fallback_student=STUDENT)
    put_trace(store, T0 + 7, **(SERVED | {"status": 504, "finish": "client_timeout"}))
    put_trace(store, T0 + 8, **(SERVED | {"status": 499, "finish": "client_disconnect"}))
    health = health_of(store)
    assert (health.sent, health.failed, health.served) == (2, 1, 1)
    assert health.healthy_since == pytest.approx(T0 + 2.09), "when the student had failed"


@pytest.mark.parametrize(
    ("trace", "failed"),
    [
        # The teacher refused the request as well: it was the request's own fault.
        (FELL_BACK | {"fallback": "status", "status": 400}, 0),
        # The student refused what the teacher could answer.
        (FELL_BACK | {"fallback": "status", "status": 200}, 1),
        # A program that may have run tools is not asked again: the caller got the failure.
        (SERVED | {"status": 502, "finish": "refused"}, 1),
        (SERVED | {"status": 504, "finish": "upstream_timeout"}, 1),
        (SERVED | {"status": 400, "finish": "refused"}, 0),
        # A stream that broke off.
        (SERVED | {"status": 200, "finish": "upstream_lost"}, 1),
        # Its answer had begun when the caller left.
        (SERVED | {"status": 499, "finish": "client_disconnect", "ttft_ms": 20.0}, 0),
        # It had failed before the caller lost patience with the teacher.
        (FELL_BACK | {"status": 499, "finish": "client_disconnect"}, 1),
        # It failed before its caller's bound cut the teacher off.
        (FELL_BACK | {"status": 504, "finish": "client_timeout"}, 1),
    ],
)
def test_what_counts_as_a_failure_of_the_student(
    store: Store, trace: dict[str, Any], failed: int
) -> None:
    put_trace(store, T0 + 1, **trace)
    health = health_of(store)
    assert (health.sent, health.failed) == (1, failed)


def test_a_dead_student_alarms_after_a_few_requests_and_is_out_after_five(store: Store) -> None:
    alarms = []
    watch = fresh()
    for number in range(1, 11):
        put_trace(store, T0 + number, **FELL_BACK)
        alarms.append(read(watch, store, to=T0 + number + 0.5).availability.verdict)
        assert watch.outages.out == (number >= RUN)
    assert alarms.index("alarm") + 1 in (7, 8)
    assert watch.outages.covers(T0 + 1) is True


def test_a_restart_counts_again_and_ends_where_it_was(store: Store) -> None:
    first = fresh()
    for number in range(1, 9):
        put_trace(store, T0 + number, **(FELL_BACK if number % 3 else SERVED))
        read(first, store, to=T0 + number)
        read(first, store, to=T0 + number)
    again = fresh(started=T0 + 100)
    assert read(first, store) == read(again, store)
    assert first.outages == again.outages


def test_a_long_history_is_read_in_pieces(store: Store) -> None:
    # Several at one moment: no piece may end between them.
    for number in range(40):
        put_trace(store, T0 + number // 3, **(FELL_BACK if number % 4 == 0 else SERVED))
    found = read(fresh(chunk=7), store)
    assert (found.sent, found.failed, found.served) == (40, 10, 30)
    assert found == health_of(store)


def test_what_lies_far_back_is_counted_and_not_read_request_by_request(store: Store) -> None:
    for hour in range(60):
        for number in range(10):
            what = FELL_BACK if hour == 20 and number < 8 else SERVED
            put_trace(store, T0 + hour * HOUR_S + number, **what)
    to = T0 + 60 * HOUR_S
    young = msgspec.structs.replace(ROLLOUT, marks=Marks(since=T0 + 58 * HOUR_S))
    whole = StudentWatch(ROUTE, STUDENT, BUSY, started=T0, chunk=50_000)
    short = StudentWatch(ROUTE, STUDENT, BUSY, started=T0, chunk=25)
    everything = read(whole, store, to=to, rollout=young)
    found = read(short, store, to=to, rollout=young)
    assert (found.sent, found.failed, found.served) == (600, 8, 600 - 8)
    assert found.healthy_since == everything.healthy_since
    assert "of 600" in everything.availability.reason
    assert found.availability.reason.startswith("0 of 50 ") and not short.outages.windows
    # The level is that of all the traffic: at the least one these are an alarm.
    for number in range(4):
        put_trace(store, to + number, **FELL_BACK)
    assert read(short, store, rollout=young).availability.verdict == "clear"

    # An outage that pairs still wait for is found again.
    row = put_trace(store, T0 + 20 * HOUR_S)
    put_pair(store, row, T0 + 20 * HOUR_S, outcome="pending")
    again = StudentWatch(ROUTE, STUDENT, BUSY, started=T0, chunk=25)
    read(again, store, to=to, rollout=young)
    assert again.outages.windows == whole.outages.windows != ()


def test_answers_are_counted_from_the_beginning_of_the_stage(store: Store) -> None:
    watch = fresh()

    def served(entered: float, to: float) -> int:
        rollout = msgspec.structs.replace(ROLLOUT, entered=entered)
        return read(watch, store, to=to + 0.5, rollout=rollout).served

    for number in range(10):
        put_trace(store, T0 + number, **SERVED)
    assert served(T0, T0 + 5) == 6
    assert served(T0, T0 + 7) == 8
    assert served(T0 + 6, T0 + 7) == 2, "another stage began meanwhile"
    assert served(T0 + 6, T0 + 9) == 4


def test_an_answer_that_began_before_the_stage_does_not_count_for_it(store: Store) -> None:
    put_trace(store, T0 + 1, **SERVED, latency_ms=10_000.0)
    watch = fresh()
    entered = msgspec.structs.replace(ROLLOUT, entered=T0 + 5)
    assert read(watch, store, to=T0 + 6, rollout=entered).served == 0
    assert read(watch, store, to=T0 + 20, rollout=entered).served == 0
    assert watch.sent == 1


def test_after_a_return_the_detectors_begin_afresh(store: Store) -> None:
    for number in range(1, 11):
        put_trace(store, T0 + number, **FELL_BACK)
    watch = fresh()
    assert read(watch, store, to=T0 + 20).availability.verdict == "alarm"
    returned = msgspec.structs.replace(ROLLOUT, availability_from=T0 + 20)
    health = read(watch, store, to=T0 + 30, rollout=returned)
    assert health.availability.verdict == "clear"
    assert (health.sent, health.failed) == (10, 10), "the count for flapping goes on"


def test_a_restart_after_a_return_finds_the_level_that_the_traffic_had_set(store: Store) -> None:
    """Ten failures in a row are an alarm at the least level, and none at 30 days of traffic."""
    for day in range(4):
        for number in range(40):
            put_trace(store, T0 + day * DAY_S + number, **SERVED)
    live = StudentWatch(ROUTE, STUDENT, BUSY, started=T0, chunk=50_000)
    read(live, store, to=T0 + 4 * DAY_S)
    returned = msgspec.structs.replace(ROLLOUT, availability_from=T0 + 4 * DAY_S)
    read(live, store, to=T0 + 4 * DAY_S + 1, rollout=returned)
    for number in range(4):
        put_trace(store, T0 + 4 * DAY_S + 2 + number, **FELL_BACK)
    again = StudentWatch(ROUTE, STUDENT, BUSY, started=T0, chunk=50_000)
    found = [read(watch, store, rollout=returned).availability for watch in (live, again)]
    assert [verdict.verdict for verdict in found] == ["clear", "clear"]
    assert found[0] == found[1]


def test_slow_answers_alarm_against_the_teachers_p95(store: Store) -> None:
    for number in range(30):
        put_trace(store, T0 + 100 + number, **(SERVED | {"student_ms": 200.0}))
    assert read(fresh(), store, p95_ms=None).availability.verdict == "clear"
    assert read(fresh(), store, p95_ms=150.0).availability.verdict == "clear"
    verdict = read(fresh(), store, p95_ms=100.0).availability
    assert verdict.verdict == "alarm" and "slow" in verdict.reason


def test_a_restart_does_not_hold_old_answers_against_the_latency_of_today(store: Store) -> None:
    """The teacher took 4 s then and takes 1 s now: 3 s were fine."""
    for number in range(30):
        put_trace(store, T0 + number, **(SERVED | {"student_ms": 3_000.0}))
    assert read(fresh(), store, p95_ms=4_000.0).availability.verdict == "clear"
    again = fresh(started=T0 + 1_000)
    health = read(again, store, to=T0 + 1_000, p95_ms=1_000.0)
    assert (health.availability.verdict, health.sent) == ("clear", 30)
    for number in range(30):
        put_trace(store, T0 + 1_001 + number, **(SERVED | {"student_ms": 3_000.0}))
    assert read(again, store, p95_ms=1_000.0).availability.verdict == "alarm"


def test_failures_are_known_when_they_end_whatever_else_is_still_open(store: Store) -> None:
    """The oldest open request of a route stops its pairs, and must not hide an outage."""
    put_trace(store, T0, state="open", **SERVED, latency_ms=None)
    for number in range(1, 11):
        put_trace(store, T0 + number, **FELL_BACK)
    health = read(fresh(), store, to=T0 + 12)
    assert health.availability.verdict == "alarm" and health.known_to == T0 + 12


def test_a_request_that_took_long_is_counted_once_when_it_ends(store: Store) -> None:
    watch = fresh()
    put_trace(store, T0 + 1, **SERVED, latency_ms=90_000.0)
    assert read(watch, store, to=T0 + 10).sent == 0
    assert read(watch, store, to=T0 + 95).sent == 1
    assert read(watch, store, to=T0 + 200).sent == 1


OVERLOAD = [True, False, False, True, False, False, False, True, False, False] * 8
QUIET = RUN * FAILURE


def overloaded(store: Store) -> tuple[float, float]:
    """30 % of the requests of 80 seconds time out, answers in between; when it was."""
    for number in range(20):
        put_trace(store, T0 + number, **SERVED, latency_ms=50.0)
    for number, failed in enumerate(OVERLOAD):
        what = FELL_BACK if failed else SERVED
        put_trace(store, T0 + 100 + number, **what, latency_ms=90.0)
    return T0 + 100, T0 + 100 + len(OVERLOAD) - 3


def quiet(store: Store, since: float) -> None:
    for number in range(QUIET):
        put_trace(store, since + number, **SERVED, latency_ms=0.0)


def test_an_overload_is_a_window_and_survivors_lie_in_it(store: Store) -> None:
    start, last = overloaded(store)
    quiet(store, T0 + 1_000)
    watch = fresh()
    read(watch, store)
    (window,) = watch.outages.windows
    assert window.start == start and last < window.end < T0 + 200
    # The second request of the overload was answered.
    assert watch.outages.covers(start + 1) is True and watch.outages.covers(T0 + 50) is False


def test_an_alarm_makes_a_window_until_the_student_is_healthy_again(store: Store) -> None:
    start, _ = overloaded(store)
    live = fresh()
    for to in range(90, 150, 2):
        health = read(live, store, to=T0 + to)
        if health.availability.verdict == "alarm":
            break
    alarm = T0 + to + 2.0
    ill = msgspec.structs.replace(ROLLOUT, unhealthy_since=alarm)
    read(live, store, to=T0 + 300, rollout=ill)
    quiet(store, T0 + 400)
    read(live, store, to=T0 + 900, rollout=ill)
    assert live.outages.covers(T0 + 800) is True, "answers do not end it"
    well = msgspec.structs.replace(
        ROLLOUT, faults=(Fault(alarm, T0 + 950),), availability_from=T0 + 950
    )
    read(live, store, to=T0 + 1_000, rollout=well)
    assert live.outages.windows == (Window(start, T0 + 950),)
    again = fresh(started=T0 + 1_000)
    read(again, store, to=T0 + 1_000, rollout=well)
    assert again.outages == live.outages, "a restart finds the same window"
    read(again, store, to=T0 + 1_001, rollout=well)
    assert again.outages == live.outages, "each fault once"


def test_silent_and_unasked_endpoints_are_not_healthy(store: Store) -> None:
    watch = fresh()
    watch.read(store, ROLLOUT, to=T0, longest_s=LONGEST_S, p95_ms=None)

    def health(silent: tuple[float, str] | None, answers_since: float | None) -> Health:
        return watch.health(
            breakers_open_since=None, silent=silent, answers_since=answers_since, now=T0 + 100
        )

    assert health(None, None).healthy_since is None, "nobody has asked it since the start"
    assert health(None, T0 + 90).healthy_since == T0 + 90
    short = health((T0 + 95, "refused"), None)
    assert short.healthy_since is None and short.unreachable is None
    assert health((T0 + 30, "refused"), None).unreachable == "refused"
