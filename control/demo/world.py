"""The world that the demo plays in: which requests come, what is true, what the teacher says.

Pure and seeded. `TicketWorld` is generated; `RecordedWorld` is real data with recorded answers.
"""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

from control.demo.likeliest import Likeliest
from control.demo.tickets import INTENTS, relabelled, tickets
from control.errors import BadInput

#: share of the tickets that the stand-in's frontier model gets wrong
TEACHER_ERROR = 0.07


class WorldError(BadInput):
    """The demo's data cannot be used; the message says which file, and what is expected."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One request of the traffic, with the truth that arrives a little later."""

    text: str
    truth: str


class World(Protocol):
    """What the stand-in provider and the traffic both need to know."""

    @property
    def classes(self) -> tuple[str, ...]:
        """All answers there are."""

    @property
    def about(self) -> str:
        """Where questions and answers come from, in a sentence."""

    def questions(self, n: int) -> list[Question]:
        """The first ``n`` requests, in order."""

    def truth(self, text: str, *, policy: int) -> str:
        """What is right for ``text`` under a labelling policy (1: as at the start, 2: moved)."""

    def answer(self, text: str, *, policy: int) -> str:
        """What the teacher says; wrong now and then, and always the same for the same text."""


def _unit(*parts: str) -> float:
    return (
        int.from_bytes(blake2b("\x1f".join(parts).encode(), digest_size=8).digest(), "big") / 2**64
    )


@dataclass
class TicketWorld:
    """Generated tickets. The teacher errs on a fixed share of the texts, chosen by hash."""

    seed: int = 7
    _intent_of: dict[str, str] = field(default_factory=dict)
    _made: list[Question] = field(default_factory=list)

    @property
    def classes(self) -> tuple[str, ...]:
        return INTENTS

    @property
    def about(self) -> str:
        return (
            f"generated support tickets ({len(INTENTS)} intents, seed {self.seed}); "
            f"the stand-in is wrong on {TEACHER_ERROR:.0%} of them"
        )

    def questions(self, n: int) -> list[Question]:
        if len(self._made) < n:
            made = tickets(n, seed=self.seed)
            self._made = [Question(text=t.text, truth=t.intent) for t in made]
            self._intent_of.update({t.text: t.intent for t in made})
        return self._made[:n]

    def truth(self, text: str, *, policy: int) -> str:
        intent = self._intent(text)
        return intent if policy == 1 else relabelled(intent)

    def answer(self, text: str, *, policy: int) -> str:
        right = self.truth(text, policy=policy)
        if _unit("teacher", str(self.seed), text) >= TEACHER_ERROR:
            return right
        others = [c for c in INTENTS if c != right]
        return others[int(_unit("which", text) * len(others))]

    def _intent(self, text: str) -> str:
        known = self._intent_of.get(text)
        return known if known is not None else _examples().label(text)


@cache
def _examples() -> Likeliest:
    return Likeliest((ticket.text, ticket.intent) for ticket in tickets(2_000, seed=1))


@dataclass
class RecordedWorld:
    """Real questions with recorded teacher answers, in the layout of Banking77 with GPT-4.

    ``recorded_gpt4.csv`` (text, gold, gpt4) and ``train.csv`` (text, gold). A recorded question
    gets its recorded answer; for the others the answer is drawn, seeded by the text, from the
    recorded confusion of that question's class.
    """

    folder: Path
    seed: int = 7

    def __post_init__(self) -> None:
        recorded = _read(self.folder / "recorded_gpt4.csv", ("text", "gold", "gpt4"))
        train = _read(self.folder / "train.csv", ("text", "gold"))
        self._gold = {row["text"]: row["gold"] for row in train}
        self._gold.update({row["text"]: row["gold"] for row in recorded})
        self._recorded = {row["text"]: row["gpt4"] for row in recorded}
        confusion: dict[str, list[str]] = defaultdict(list)
        for row in recorded:
            confusion[row["gold"]].append(row["gpt4"])
        self._confusion = dict(confusion)
        silent = sorted(set(self._gold.values()) - set(confusion))
        if silent:
            raise WorldError(
                f"{self.folder}/recorded_gpt4.csv: no recorded answer for the classes "
                f"{', '.join(silent[:5])}{' ...' if len(silent) > 5 else ''} of train.csv: "
                "every class needs one at least"
            )
        self._order = [Question(text=text, truth=gold) for text, gold in self._gold.items()]
        random.Random(self.seed).shuffle(self._order)
        self._right = sum(row["gold"] == row["gpt4"] for row in recorded) / len(recorded)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        return tuple(sorted(set(self._gold.values())))

    @property
    def about(self) -> str:
        return (
            f"{len(self._order)} real questions ({len(self._recorded)} with a recorded answer, "
            f"right in {self._right:.4f}; for the others the answer is drawn from the recorded "
            f"confusion of their class), shuffled with seed {self.seed}"
        )

    def questions(self, n: int) -> list[Question]:
        if n > len(self._order):
            raise WorldError(
                f"{self.folder}: {n} requests were asked for, the files hold {len(self._order)} "
                f"different questions; use --requests {len(self._order)} or fewer"
            )
        return self._order[:n]

    def truth(self, text: str, *, policy: int) -> str:
        gold = self._gold.get(text)
        if gold is None:
            gold = self._likeliest.label(text)
        if policy == 1:
            return gold
        return self._moved(gold)

    def answer(self, text: str, *, policy: int) -> str:
        recorded = self._recorded.get(text)
        if recorded is None:
            drawn = self._confusion[self.truth(text, policy=1)]
            recorded = drawn[int(_unit("teacher", str(self.seed), text) * len(drawn))]
        if policy == 1:
            return recorded
        return self._moved(recorded)

    def _moved(self, name: str) -> str:
        """The new policy merges each second class, by name, into the one before."""
        at = self.classes.index(name) if name in self.classes else 0
        return self.classes[at - 1] if at % 2 else name

    @cached_property
    def _likeliest(self) -> Likeliest:
        return Likeliest((question.text, question.truth) for question in self._order)


def _read(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    if not path.is_file():
        raise WorldError(
            f"{path}: no such file; --data wants a folder with recorded_gpt4.csv and train.csv"
        )
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(_rows(path, csv.DictReader(file, strict=True), columns))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WorldError(f"{path}: can't be read as CSV in UTF-8: {error}") from error
    if not rows:
        raise WorldError(f"{path}: no rows")
    return rows


def _rows(
    path: Path, reader: csv.DictReader[str], columns: tuple[str, ...]
) -> Iterator[dict[str, str]]:
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        found = ", ".join(reader.fieldnames or ()) or "none"
        raise WorldError(f"{path}: no column {', '.join(missing)}; found: {found}")
    for row in reader:
        # A short row has None where it ends.
        empty = [name for name in columns if not (row[name] or "").strip()]
        if empty:
            raise WorldError(f"{path}: line {reader.line_num}: no {empty[0]}")
        yield {name: row[name] if name == "text" else row[name].strip() for name in columns}
