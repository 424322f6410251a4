from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from control.report import words
from control.report.model import ReportBody
from router.stages import Stage
from tests.control.report.filled import (
    STATES,
    STUDENT,
    Filled,
    body_of,
    live,
    no_student,
    ready,
    rolled_back,
    shadow,
)
from tests.control.report.page import Page, read_markdown
from tests.control.stored import trace_row


@pytest.mark.parametrize("state", STATES)
def test_the_three_forms_say_the_same(filled: Filled, state: str) -> None:
    STATES[state](filled)
    report = filled.report()
    body = body_of(report)
    page, text = Page(report.html), read_markdown(report.markdown)
    for shown in (page, text):
        for figure in (*body.tiles, *body.numbers):
            assert figure.name in shown.text
            assert figure.value in shown.text
            assert figure.note in shown.text
        assert body.headline in shown.text
        assert report.sha256[:12] in shown.text
        assert all(line in shown.text for line in (*body.caveats, *body.commands, *body.money))
        for header, rows in (
            ("direction", body.outcomes), ("answered by", body.traffic), ("candidate", body.exam),
            ("request", body.disagreements), ("when (UTC)", body.events),
        ):  # fmt: skip
            assert not rows or len(shown.table(header)) == len(rows)
    # A section without content is not there at all.
    assert ("History" in page.text) is bool(body.events)
    assert "None" not in page.text and "nan" not in page.text.split()
    assert json.loads(report.json)["student"] == report.student


@pytest.mark.parametrize("state", STATES)
def test_equal_evidence_has_an_equal_name(filled: Filled, state: str) -> None:
    STATES[state](filled)
    one, two = filled.report(), filled.report()
    assert one == two
    assert re.fullmatch(r"[0-9a-f]{64}", one.sha256)
    filled.traffic(1)
    later = filled.report()
    assert later.sha256 == one.sha256 and later.json != one.json
    filled.event("pause", Stage.HELD)
    assert filled.report().sha256 != one.sha256


def test_every_number_in_json_is_one(filled: Filled) -> None:
    """No infinity or NaN: JSON has none, and msgspec would make null of them."""
    rolled_back(filled)
    report = filled.report()
    body = msgspec.json.decode(report.json, type=ReportBody)
    assert len(body.history) > 600
    assert msgspec.json.encode(body, order="sorted") == report.json


def test_no_student(filled: Filled) -> None:
    no_student(filled)
    report = filled.report()
    body = body_of(report)
    assert (report.student, body.stage, body.tone) == (None, None, "wait")
    assert body.headline == "The teacher answers everything. No student has been distilled yet."
    assert [tile.name for tile in body.tiles] == [
        "cost of 1,000 requests by the teacher", "median latency of the teacher",
    ]  # fmt: skip
    assert body.tiles[0].value == "$1.00"
    assert "svg" not in Page(report.html).tags
    assert body.commands[0] == "limbeck distill greet"


def test_nothing_at_all(filled: Filled) -> None:
    report = filled.report()
    page = Page(report.html)
    assert "table" not in page.tags
    assert body_of(report).tiles == []
    assert read_markdown(report.markdown).tags.count("h2") == 1


def test_shadow_without_pairs(filled: Filled) -> None:
    shadow(filled)
    report = filled.report()
    body = body_of(report)
    assert (body.stage, body.tone) == ("SHADOW", "wait")
    assert "There is no scored pair yet" in body.headline
    assert body.numbers == [] and body.history == []
    page = Page(report.html)
    assert "No pair is scored yet" in page.text
    assert "svg" not in page.tags
    # What there is already: the exam, the rows behind the student, its lineage.
    assert ["s1-3fa2 (classifier)", "75", "0.947", "0.870 to 0.980", "0.090"] in page.table(
        "candidate"
    )
    assert "dropped: duplicate input" in page.text
    assert ["artefact sha256", "cd" * 32] in page.tables[-1]


def test_ready(filled: Filled) -> None:
    ready(filled)
    report = filled.report()
    body = body_of(report)
    assert (body.stage, body.tone) == ("READY", "good")
    assert body.headline.startswith("Good enough by the bar; a person may approve it. Student >= ")
    # Nobody was answered by it: its replays say what it costs and how fast it is.
    page = Page(report.html)
    replayed = next(row for row in page.table("answered by") if row[0] == "student, replayed")
    assert replayed == ["student, replayed", "351", "15 ms", "15 ms", "$0.0010", "0", "0"]
    assert "Every 1,000 requests that the student answers would save $1.00." in body.money
    assert "label coverage" in page.text and "99.7 %" in page.text
    assert f"limbeck approve greet --report {report.sha256[:12]}" in page.text
    assert f"limbeck approve greet --report {report.sha256[:12]}" in report.markdown
    assert "0.3% of the sampled requests got no label in time." in page.text


def test_live(filled: Filled) -> None:
    live(filled)
    report = filled.report()
    body = body_of(report)
    assert (body.stage, body.tone) == ("LIVE", "good")
    assert body.headline.startswith("It answers all requests but the 2 % of the holdout. Over ")
    assert [name for _, name in body.marks] == [
        "SHADOW", "READY", "R1", "R5", "R25", "R50", "LIVE",
    ]  # fmt: skip
    assert Page(report.html).tags.count("svg") == 2 * 4
    saved, spent, _ = body.money
    assert re.match(r"Saved on \d+ requests that the student answered: \$0\.\d\d, ", saved)
    assert re.match(r"Spent on evidence and training: \$0\.\d\d \(reverse shadow .*\); net ", spent)
    assert "approve" not in report.markdown.partition("## What you can do")[2]
    answered = sum(share.n for share in body.shares)
    assert answered == sum(row.n for row in body.traffic)


def test_rolled_back(filled: Filled) -> None:
    rolled_back(filled)
    report = filled.report()
    body = body_of(report)
    assert (body.stage, body.tone) == ("ROLLED_BACK", "bad")
    assert body.headline.startswith(
        "Taken back; the teacher answers everything. Quality: bar guard: no longer student >= "
    )
    assert (body.tiles[-1].name, body.tiles[-1].note) == ("M of the guard", "rolls back at 20,000")
    last = body.history[-1]
    # Of the last hundred pairs sixty were answered by a student that is right now and then.
    assert last.student > 0.85 and last.recent_student < 0.6
    assert body.tiles[0].name == "student's score over the last 100 pairs"
    assert body.tiles[0].value == words.score(last.recent_student)
    assert body.tiles[0].note == f"teacher: {words.score(last.recent_teacher)}"
    assert f"Over the last 100 pairs the student scores {body.tiles[0].value}" in body.headline
    assert last.log_guard is not None and body.log_alarm is not None
    assert last.log_guard > body.log_alarm
    assert body.commands == ["limbeck distill greet", "limbeck retry greet"]
    assert ["ann", "looks right"] in [[row.actor, row.reason] for row in body.events]


def test_a_student_that_does_not_exist(filled: Filled) -> None:
    ready(filled)
    assert filled.report(STUDENT).student == STUDENT
    with pytest.raises(LookupError, match="route greet has no student s9-0000"):
        filled.report("s9-0000")


def test_unknown_prices_are_unknown(filled: Filled) -> None:
    filled.traffic(20, cost_usd=None)
    filled.student()
    filled.pair(1.0, 1.0, cost_usd=None)
    filled.traffic(5, by_student=1.0, cost_usd=None)
    report = filled.report()
    body = body_of(report)
    assert {row.per_1000 for row in body.traffic if row.served_by == "student"} == {"unknown"}
    assert [row.cost for row in body.outcomes] == ["unknown"]
    assert "What the student saves is unknown: not all prices are known." in body.money
    assert any("Spent on evidence and training: unknown" in line for line in body.money)
    assert any("The cost of 25 of 26 answers is unknown" in line for line in body.caveats)
    assert "$0 " not in report.markdown and "$0;" not in report.markdown
    price = next(tile for tile in body.tiles if tile.name.startswith("cost of 1,000 requests"))
    assert price.value == "unknown"


def test_a_sum_with_an_unknown_part_is_a_lower_bound(filled: Filled) -> None:
    shadow(filled)
    filled.pair(1.0, 1.0, cost_usd=0.5)
    filled.pair(1.0, 1.0, cost_usd=None)
    body = body_of(filled.report())
    assert [row.cost for row in body.outcomes] == ["at least $0.50"]
    assert any("at least $0.50 (shadow at least $0.50)" in line for line in body.money)


def test_a_failed_request_is_no_unknown_price(filled: Filled) -> None:
    filled.traffic(10)
    filled.traffic(2, status=502, cost_usd=None)
    body = body_of(filled.report())
    assert body.traffic[0].failed == 2
    assert body.caveats == []
    assert body.traffic[0].per_1000 == "$1.00"


def test_outage_windows_are_those_that_control_left_out(filled: Filled) -> None:
    """They come from health, so the pairs alone do not tell them."""
    shadow(filled)
    filled.pairs(150, teacher=0.93, student=0.97)
    assert "outage" not in filled.report().markdown
    start = filled.now - 20
    filled.save_outage(start, filled.now)
    body = body_of(filled.report())
    windows = next(row for row in body.numbers if row.name == "outage windows left out")
    assert windows.value == "1" and "nothing is promoted above 10 %" in windows.note


def test_another_students_traffic_is_not_this_ones(filled: Filled) -> None:
    filled.traffic(40)
    other = {"served_by": "student", "student": "s0-0000"}
    filled.store.append("traces", [trace_row(filled.now + n, **other) for n in range(40)])
    filled.student()
    filled.pairs(10, teacher=1.0, student=1.0)
    filled.traffic(30, by_student=1.0)
    body = body_of(filled.report())
    assert sum(share.n for share in body.shares) == 120
    assert sum(share.by_student for share in body.shares) == 30
    assert [row.n for row in body.traffic if row.served_by == "student"] == [30]


@pytest.mark.parametrize(
    ("bars", "names"),
    [
        ({"retention": 0.9, "min_score": 0.99}, ["bar: 0.9 x teacher", "bar: 0.99"]),
        ({"min_score": 0.8}, ["bar: 0.8"]),
        ({"margin": 0.05}, ["bar: teacher - 0.05"]),
    ],
)
def test_every_bar_is_drawn_and_the_worst_one_is_plotted(
    filled: Filled, tmp_path: Path, bars: dict[str, float], names: list[str]
) -> None:
    several = Filled(filled.store, tmp_path, route={"rollout": bars})
    ready(several)
    report = several.report()
    body = body_of(report)
    page = Page(report.html)
    assert re.findall(r"<title>(bar: [^<]*)</title>", report.html) == 2 * names
    assert all(page.text.count(name) == 4 for name in names), "named, and as a title, in both sizes"
    assert ("the bar that it does worst at" in page.text) is (len(names) > 1)
    assert "is one condition of passing" in page.text
    rows = [row.value for row in body.numbers if row.note.startswith("promotes at")]
    tile = next(tile for tile in body.tiles if tile.name.startswith("E over"))
    assert f"E {tile.value}" in rows and len(rows) == len(names)
    assert tile.value == words.e_value(body.history[-1].log_e)


def test_a_held_student(filled: Filled) -> None:
    live(filled)
    filled.event("warn", Stage.HELD, "warning: no longer student >= 0.975 x teacher")
    body = body_of(filled.report())
    assert body.tone == "wait"
    assert body.headline.startswith("On hold; it is sent 0 % of the requests. Warning: no longer")
    assert body.commands[0] == "limbeck resume greet"


def test_a_long_history_is_thinned(filled: Filled) -> None:
    shadow(filled)
    filled.pairs(1_200, teacher=1.0, student=1.0)
    filled.pairs(100, teacher=1.0, student=0.0)
    history = body_of(filled.report()).history
    assert len(history) == 1_000
    assert (history[0].seq, history[-1].seq) == (1, 1_300)
    # The recent scores are those of pairs, not of the points that are left.
    for point in history[-70:]:
        assert point.recent_teacher == 1.0
        assert point.recent_student == pytest.approx((1_300 - point.seq) / 100)


def test_a_repeated_request_counts_in_the_recent_scores_alone(filled: Filled) -> None:
    shadow(filled)
    filled.pair(1.0, 1.0, cluster="c")
    filled.pair(1.0, 0.0, cluster="c")
    last = body_of(filled.report()).history[-1]
    assert (last.student, last.recent_student) == (1.0, 0.5)


def test_axes_show_the_numbers_of_the_tiles(filled: Filled) -> None:
    rolled_back(filled)
    svgs = re.findall(r"<svg.*?</svg>", filled.report().html, re.S)
    gate, guard = (re.findall(r"<text[^>]*>([^<]*)<", svgs[n]) for n in (0, 4))
    assert {"E, log scale", "1", "100", "promotes: E 32.9"} <= set(gate)
    assert {"M, log scale", "1", "1,000", "10^6", "10^9", "rolls back: M 20,000"} <= set(guard)
