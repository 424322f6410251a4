from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from control.demo.likeliest import Likeliest
from control.demo.tickets import INTENTS
from control.demo.world import TEACHER_ERROR, RecordedWorld, TicketWorld, World, WorldError
from tests.shared import shared

_RECORDED = [
    ("my card is gone", "lost_card", "lost_card"),
    ("I lost my card", "lost_card", "stolen_card"),
    ("what is the fee", "fees", "fees"),
    ("somebody stole my card", "stolen_card", "stolen_card"),
]
_TRAIN = [
    ("where did I leave my card", "lost_card"),
    ("do you charge for top ups", "fees"),
    ("a thief has my card", "stolen_card"),
]


def write(folder: Path, name: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    path = folder / name
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "recorded_gpt4.csv", ("text", "gold", "gpt4"), _RECORDED)
    write(tmp_path, "train.csv", ("text", "gold"), _TRAIN)
    return tmp_path


def test_tickets_keep_their_truth_and_their_answer() -> None:
    """Two processes make the world; what one says the other must say too."""
    here, there = TicketWorld(), TicketWorld()
    questions = here.questions(300)
    assert there.questions(300) == questions
    assert here.questions(100) == questions[:100]
    for question in questions:
        assert here.truth(question.text, policy=1) == question.truth
        for policy in (1, 2):
            answer = here.answer(question.text, policy=policy)
            assert answer == there.answer(question.text, policy=policy)
            assert answer in INTENTS


@pytest.mark.parametrize("policy", [1, 2])
def test_the_teacher_errs_as_announced(policy: int) -> None:
    world = TicketWorld(seed=3)
    texts = [question.text for question in world.questions(4_000)]
    wrong = [t for t in texts if world.answer(t, policy=policy) != world.truth(t, policy=policy)]
    assert len(wrong) / len(texts) == pytest.approx(TEACHER_ERROR, abs=0.015)
    assert f"{TEACHER_ERROR:.0%}" in world.about
    # Not always the same wrong answer.
    assert len({world.answer(text, policy=policy) for text in wrong}) > len(INTENTS) / 2


def test_the_policy_moves_the_truth_of_some_tickets() -> None:
    world = TicketWorld()
    moved = [
        world.truth(q.text, policy=1) != world.truth(q.text, policy=2) for q in world.questions(500)
    ]
    assert 0.25 < sum(moved) / len(moved) < 0.6


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("where is my parcel?", "track_order"),
        ("Cancel my order", "cancel_order"),
        ("you charged me twice", "duplicate_charge"),
        ("my password does not work", "login_problem"),
        ("I need a receipt", "invoice_request"),
        ("the kettle arrived broken!!", "damaged_item"),
    ],
)
def test_a_text_that_somebody_typed_is_understood(text: str, intent: str) -> None:
    assert TicketWorld().truth(text, policy=1) == intent


@pytest.mark.parametrize("text", ["", "  ", "zzz", "🙂", "x" * 50_000])
def test_any_text_has_some_answer(text: str, folder: Path) -> None:
    worlds: list[World] = [TicketWorld(), RecordedWorld(folder=folder)]
    for world in worlds:
        assert world.answer(text, policy=1) in world.classes
        assert world.answer(text, policy=2) in world.classes


def test_a_rare_word_says_more_than_frequent_ones() -> None:
    likeliest = Likeliest(
        [("my card does not work", "card"), ("my new card is not here", "card"),
         ("my login does not work", "login"), ("a new password for my login", "login")]
    )  # fmt: skip
    assert likeliest.label("PASSWORD: not...") == "login"
    assert likeliest.label("my new card") == "card"
    assert likeliest.label("") == "card"


def test_recorded_answers_are_given_as_recorded(folder: Path) -> None:
    world = RecordedWorld(folder=folder)
    for text, gold, answer in _RECORDED:
        assert world.truth(text, policy=1) == gold
        assert world.answer(text, policy=1) == answer
    assert world.classes == ("fees", "lost_card", "stolen_card")
    assert "4 with a recorded answer" in world.about
    assert "0.7500" in world.about


def test_other_answers_are_drawn_from_the_confusion_of_their_class(folder: Path) -> None:
    answers = {
        RecordedWorld(folder=folder, seed=seed).answer(_TRAIN[0][0], policy=1) for seed in range(30)
    }
    assert answers == {"lost_card", "stolen_card"}
    assert RecordedWorld(folder=folder).answer(_TRAIN[1][0], policy=1) == "fees"


def test_real_questions_are_shuffled_by_the_seed(folder: Path) -> None:
    one, two = RecordedWorld(folder=folder, seed=1), RecordedWorld(folder=folder, seed=2)
    assert one.questions(7) == RecordedWorld(folder=folder, seed=1).questions(7)
    assert one.questions(7) != two.questions(7)
    assert {q.text for q in one.questions(7)} == {row[0] for row in (*_RECORDED, *_TRAIN)}


def test_the_new_policy_merges_recorded_classes(folder: Path) -> None:
    world = RecordedWorld(folder=folder)
    assert {world.truth(row[0], policy=2) for row in _RECORDED} == {"fees", "stolen_card"}
    assert world.answer("my card is gone", policy=2) == "fees"


def test_too_many_requests(folder: Path) -> None:
    with pytest.raises(WorldError, match=r"8 requests.*hold 7 .*--requests 7 or fewer"):
        RecordedWorld(folder=folder).questions(8)


def drop_train(folder: Path) -> None:
    (folder / "train.csv").unlink()


def no_gpt4(folder: Path) -> None:
    write(folder, "recorded_gpt4.csv", ("text", "gold"), [row[:2] for row in _RECORDED])


def no_rows(folder: Path) -> None:
    write(folder, "train.csv", ("text", "gold"), [])


def empty_file(folder: Path) -> None:
    (folder / "train.csv").write_bytes(b"")


def short_row(folder: Path) -> None:
    write(folder, "train.csv", ("text", "gold"), [*_TRAIN, ("only a text",)])


def latin1(folder: Path) -> None:
    (folder / "train.csv").write_bytes("text,gold\ncaf\xe9,fees\n".encode("latin-1"))


def open_quote(folder: Path) -> None:
    (folder / "train.csv").write_text('text,gold\n"never closed,fees\n')


def unknown_class(folder: Path) -> None:
    write(folder, "train.csv", ("text", "gold"), [*_TRAIN, ("how old are you", "chit_chat")])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_train, r"train\.csv: no such file; --data wants .*recorded_gpt4\.csv and train\.csv"),
        (no_gpt4, r"recorded_gpt4\.csv: no column gpt4; found: text, gold"),
        (no_rows, r"train\.csv: no rows"),
        (empty_file, r"train\.csv: no column text, gold; found: none"),
        (short_row, r"train\.csv: line 5: no gold"),
        (latin1, r"train\.csv: can't be read as CSV in UTF-8"),
        (open_quote, r"train\.csv: can't be read as CSV"),
        (unknown_class, r"no recorded answer for the classes chit_chat of train\.csv"),
    ],
)
def test_unusable_data_is_named(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder)
    with pytest.raises(WorldError, match=message) as caught:
        RecordedWorld(folder=folder)
    assert str(folder) in str(caught.value)


def test_the_real_data() -> None:
    world = RecordedWorld(folder=shared("data", "banking77", "recorded_gpt4.csv").parent)
    assert len(world.classes) == 77
    questions = world.questions(10_000)
    assert len({q.text for q in questions}) == 10_000
    # Shuffled: both files lie in blocks by class.
    assert len({q.truth for q in questions[:200]}) > 60
    right = sum(world.answer(q.text, policy=1) == q.truth for q in questions)
    assert right / len(questions) == pytest.approx(0.8305, abs=0.02)
    assert "0.8305" in world.about
