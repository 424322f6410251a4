from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import msgspec
import pytest

from control.measure import Answer, Measure, needs_label
from control.score_counts import score_counts
from control.scoring import Scoring
from programs.description import InputField, OutputField, ProgramDescription
from programs.errors import LoadError
from programs.metric_client import metric_for
from programs.metric_hash import metric_hash
from tests.control.stored import ROUTE, T0, config_of, put_gold, put_sources, put_trace
from traces.store import Store


class Row(msgspec.Struct):
    trace_id: str
    ts_us: int
    score: float | None
    not_scored: str | None


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "t.duckdb")
    put_sources(store, truth="all")
    yield store
    store.close()


def measure_of(tmp_path: Path, **route: object) -> Measure:
    config = config_of(tmp_path, **route).routes[ROUTE]  # type: ignore[arg-type]
    spec = str(config.metric)
    hashed = metric_hash(spec, tmp_path)
    metric = metric_for(spec, metric_hash=hashed, route=ROUTE, user_dir=tmp_path)
    return Measure(config, metric, metric_hash="m1", describe=lambda: None)


def scores_in(store: Store) -> list[Row]:
    """What the file holds, in the order in which answers and labels became known."""
    store.close()  # the next call opens it again
    with duckdb.connect(str(store.path)) as connection:
        found = connection.execute(
            "SELECT trace_id::VARCHAR, epoch_us(ts), score, not_scored FROM scores ORDER BY 2, 1"
        ).fetchall()
    return [Row(*values) for values in found]


async def scores(store: Store, measure: Measure) -> list[Row]:
    scoring = Scoring(store, measures={ROUTE: measure}, through=lambda _: T0 + 1_000)
    await scoring.score(ROUTE)
    return scores_in(store)


async def test_answers_are_scored_once_their_label_is_there(store: Store, tmp_path: Path) -> None:
    measure = measure_of(tmp_path)
    right = put_trace(store, T0, answer="a")
    put_trace(store, T0 + 1, served_by="student")
    assert await scores(store, measure) == []
    put_gold(store, right, "A", ts=T0 + 5)
    assert [(row.trace_id, row.score) for row in await scores(store, measure)] == [(right, 1.0)]
    assert len(await scores(store, measure)) == 1, "once"


async def test_a_later_label_scores_again(store: Store, tmp_path: Path) -> None:
    measure = measure_of(tmp_path)
    trace_id = put_trace(store, T0, answer="a")
    put_gold(store, trace_id, "a", ts=T0 + 5)
    await scores(store, measure)
    put_gold(store, trace_id, "b", ts=T0 + 9)
    found = await scores(store, measure)
    assert [(row.ts_us / 1e6, row.score) for row in found] == [(T0 + 5, 1.0), (T0 + 9, 0.0)]


async def test_the_label_that_is_evidence_scores_whatever_others_say_later(
    store: Store, tmp_path: Path
) -> None:
    put_sources(store, thumbs="volunteered", auditors="audit")
    measure = measure_of(tmp_path)
    trace_id = put_trace(store, T0, answer="a", audit=False)
    put_gold(store, trace_id, "a", ts=T0 + 5)
    put_gold(store, trace_id, "b", ts=T0 + 6, source="thumbs")
    put_gold(store, trace_id, "c", ts=T0 + 7, source="auditors")
    assert [row.score for row in await scores(store, measure)] == [1.0]
    put_gold(store, trace_id, "b", ts=T0 + 8, source="anybody")
    assert [row.score for row in await scores(store, measure)] == [1.0]


async def test_no_mean_is_made_of_volunteered_corrections(store: Store, tmp_path: Path) -> None:
    """People correct what is wrong: where they alone label, a good teacher has a mean of 0."""
    put_sources(store, thumbs="volunteered", auditors="audit")
    measure = measure_of(tmp_path)
    route = config_of(tmp_path).routes[ROUTE]
    for second in range(4):
        trace_id = put_trace(store, T0 + second, answer="a", audit=second == 2)
        source = "auditors" if second == 2 else "thumbs"
        put_gold(store, trace_id, "right", ts=T0 + 5 + second, source=source)
    await scores(store, measure)
    counts = score_counts(store, route, "m1")
    assert (counts.scored, counts.mean) == (4, 0.0), "the audited one alone"
    truly = put_trace(store, T0 + 9, answer="a")
    put_gold(store, truly, "a", ts=T0 + 10)
    put_gold(store, truly, "b", ts=T0 + 11, source="thumbs")
    await scores(store, measure)
    assert score_counts(store, route, "m1").mean == 0.5


async def test_a_correction_leaves_the_score_before_it_in_the_mean(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "own_metric.py").write_text(
        "def score(example, prediction, trace=None):\n"
        "    return example.get('answer', prediction.answer) == prediction.answer\n"
    )
    measure = measure_of(tmp_path, metric="own_metric:score", feedback={})
    trace_id = put_trace(store, T0, answer="a")
    await scores(store, measure)
    put_gold(store, trace_id, "b", ts=T0 + 5, source="anybody")
    assert [row.score for row in await scores(store, measure)] == [1.0, 0.0]
    await measure.close()
    assert score_counts(store, config_of(tmp_path).routes[ROUTE], "m1").mean == 1.0


async def test_confirmations_and_refusals(store: Store, tmp_path: Path) -> None:
    confirmed, refused = put_trace(store, T0), put_trace(store, T0 + 1)
    put_gold(store, confirmed, ts=T0 + 2, confirmed=True)
    put_gold(store, refused, ts=T0 + 3, confirmed=False)
    found = await scores(store, measure_of(tmp_path))
    assert {row.trace_id: row.score for row in found} == {confirmed: 1.0, refused: 0.0}


async def test_a_metric_that_raises_gives_the_reason_and_no_score(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "raising_metric.py").write_text("def m(e, p, trace=None):\n    return p.nope\n")
    measure = measure_of(tmp_path, metric="raising_metric:m", feedback={})
    put_trace(store, T0)
    (row,) = await scores(store, measure)
    await measure.close()
    assert row.score is None and row.not_scored is not None and "nope" in row.not_scored


async def test_a_metric_that_does_not_load_records_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "broken_metric.py").write_text("import no_such_module_anywhere\n")
    measure = measure_of(tmp_path, metric="broken_metric:m", feedback={})
    put_trace(store, T0)
    with pytest.raises(LoadError, match="no_such_module_anywhere"):
        await scores(store, measure)
    assert scores_in(store) == []
    await measure.close()


@pytest.mark.parametrize(
    ("route", "needs"),
    [
        ({}, True),
        ({"feedback": {}}, True),
        ({"metric": "m:f"}, True),
        ({"metric": "m:f", "feedback": {}}, False),
        ({"metric": "m:f", "feedback": {"thumbs": "volunteered"}}, False),
    ],
)
def test_who_waits_for_the_truth(tmp_path: Path, route: dict[str, object], needs: bool) -> None:
    assert needs_label(config_of(tmp_path, **route).routes[ROUTE]) is needs  # type: ignore[arg-type]


async def test_a_program_is_scored_on_its_fields(tmp_path: Path) -> None:
    (tmp_path / "fields_metric.py").write_text(
        "def m(example, prediction, trace=None):\n"
        "    return example.category == prediction.category and example.text == 'hi'\n"
    )
    config = config_of(
        tmp_path, program="app:build", lm="up/m", teacher=None, metric="fields_metric:m"
    ).routes[ROUTE]
    described = ProgramDescription(
        program_version="v1",
        input_fields={"text": InputField()},
        output_fields={"reasoning": OutputField(), "category": OutputField()},
        predictors={},
        body={},
    )
    spec = str(config.metric)
    hashed = metric_hash(spec, tmp_path)
    metric = metric_for(spec, metric_hash=hashed, route=ROUTE, user_dir=tmp_path)
    known: list[ProgramDescription] = []
    measure = Measure(
        config, metric, metric_hash="m1", describe=lambda: known[0] if known else None
    )
    assert not measure.ready
    known.append(described)
    assert measure.ready
    request = '{"messages": [{"role": "user", "content": "hi"}]}'
    marks = await measure.mark(
        [
            Answer(request=request, answer="billing", gold='{"category": "billing"}'),
            Answer(request=request, answer='{"category": "billing"}', gold='"billing"'),
            Answer(request=request, answer="refund", gold='"billing"'),
        ]
    )
    await measure.close()
    assert [mark.value for mark in marks] == [1.0, 1.0, 0.0]


async def test_a_slow_metric_scores_one_answer_a_turn_at_least(
    store: Store, tmp_path: Path
) -> None:
    for second in (1, 2, 3):
        put_gold(store, put_trace(store, T0 + second), "HELLO", ts=T0 + 9)
    measures = {ROUTE: measure_of(tmp_path)}
    scoring = Scoring(store, measures=measures, through=lambda _: T0 + 1e6, turn_s=0)
    for turn in (1, 2, 3):
        await scoring.score(ROUTE)
        assert len(scores_in(store)) == turn


async def test_what_the_collector_brings_late_is_scored_all_the_same(
    store: Store, tmp_path: Path
) -> None:
    """The collector may be hours behind: its own watermark counts, and not the clock."""
    scoring = Scoring(store, measures={ROUTE: measure_of(tmp_path)}, through=lambda _: T0)
    await scoring.score(ROUTE)
    put_gold(store, put_trace(store, T0 + 1), "HELLO", ts=T0 + 2)
    await scoring.score(ROUTE)
    assert len(scores_in(store)) == 1
