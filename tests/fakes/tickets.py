"""Generated support tickets: 8 intents, phrasing templates with slots, chatter, and typos.

Everything follows from the seed. `split_rows` writes them as the distiller uploads them.
"""

from __future__ import annotations

import json
import random
from typing import Any, NamedTuple

SLOTS = {
    "item": ["lamp", "blue jacket", "coffee grinder", "desk", "headphones", "rug", "tent"],
    "day": ["yesterday", "on Monday", "last week", "this morning", "on the 3rd", "two days ago"],
    "sum": ["$19", "40 euros", "£12.50", "$230", "8.99", "a hundred dollars"],
    "device": ["my phone", "the app", "the website", "my tablet", "my new laptop"],
    "place": ["Leeds", "Porto", "my office", "my parents' flat", "a new house", "Lyon"],
}
PHRASES = {
    "late_delivery": [
        "my {item} should have come {day}",
        "where is the {item} I ordered {day}",
        "still waiting for the {item}, tracking has not moved since {day}",
        "the courier never turned up with my {item} {day}",
        "how much longer until the {item} gets here",
    ],
    "damaged_item": [
        "the {item} arrived broken",
        "there is a crack in the {item} that came {day}",
        "my {item} was smashed when I opened the box {day}",
        "the {item} is scratched all over, it looks used",
        "a part of the {item} is missing and the rest is bent",
    ],
    "refund_status": [
        "when do I get my {sum} back",
        "I sent the {item} back {day} and see no refund",
        "you promised to return {sum} {day}",
        "has my refund of {sum} been processed",
        "the money for the returned {item} is not on my card",
    ],
    "double_charge": [
        "I was billed twice for the {item}",
        "there are two payments of {sum} from {day}",
        "you took {sum} from my card two times",
        "my statement shows the {item} charged double",
        "why was {sum} withdrawn again {day}",
    ],
    "login_problem": [
        "I can't sign in on {device}",
        "{device} says my password is wrong",
        "the reset link never arrives for {device}",
        "I am locked out of my profile on {device} since {day}",
        "{device} keeps throwing me out after I log in",
    ],
    "change_address": [
        "please send the {item} to {place} instead",
        "I moved to {place}, update where my parcel goes",
        "can my order be delivered to {place}",
        "the shipping destination is wrong, it should be {place}",
        "redirect the {item} to {place} please",
    ],
    "cancel_order": [
        "please cancel the {item} I ordered {day}",
        "I don't want the {item} any more, stop the order",
        "call off my purchase of the {item}",
        "I ordered the {item} by mistake {day}, undo it",
        "drop the {item} from my order before it ships",
    ],
    "invoice_copy": [
        "I need an invoice for the {item}",
        "can you mail me the receipt over {sum}",
        "my accountant asks for the bill from {day}",
        "where do I download the invoice of {sum}",
        "please issue a VAT receipt for the {item}",
    ],
}
INTENTS = tuple(PHRASES)
_OPENINGS = ["", "", "", "hi, ", "hello there, ", "hey ", "good morning, ", "second mail: "]
_ENDINGS = ["", "", "", ". thanks", ". please help", "!!", ". can someone look at it"]
_CHATTER = [
    "I have been a customer for years.",
    "The {item} from {day} is fine by the way.",
    "I wrote from {device} {day}.",
    "Love the shop otherwise.",
]
_SYSTEM = (
    "Your input fields are:\n1. `text` (str):\nYour output fields are:\n1. `intent` (str):\n"
    "All interactions will be structured in the following way, with the values filled in.\n"
    "In adhering to this structure, your objective is:\n"
    "        Choose the intent of a customer's ticket."
)
_USER = (
    "[[ ## text ## ]]\n{text}\n\nRespond with the corresponding output fields, starting with the "
    "field `[[ ## intent ## ]]`, and then ending with the marker for `[[ ## completed ## ]]`."
)
_CHAT_ANSWER = "[[ ## intent ## ]]\n{intent}\n\n[[ ## completed ## ]]\n"


class Ticket(NamedTuple):
    text: str
    intent: str


def tickets(count: int, *, seed: int) -> list[Ticket]:
    """Return different tickets, the intents in turn, shuffled."""
    random_ = random.Random(seed)
    found: dict[str, str] = {}
    while len(found) < count:
        intent = INTENTS[len(found) % len(INTENTS)]
        found.setdefault(_text(random_, intent), intent)
    result = [Ticket(text, intent) for text, intent in found.items()]
    random_.shuffle(result)
    return result


def prompt(text: str) -> list[dict[str, str]]:
    """Return the messages of a program's predictor, in the shape of DSPy's ChatAdapter."""
    return [
        {"role": "system", "content": _SYSTEM},
        {"role": "user", "content": _USER.format(text=text)},
    ]


def plain_row(ticket: Ticket, split: str) -> dict[str, Any]:
    """Return a training row of a plain route."""
    return {
        "messages": [
            {"role": "system", "content": "Answer with the intent of the customer's ticket."},
            {"role": "user", "content": ticket.text},
            {"role": "assistant", "content": ticket.intent},
        ],
        "inputs": {"text": ticket.text},
        "outputs": {"answer": ticket.intent},
        "split": split,
        "weight": 1.0,
    }


def program_row(ticket: Ticket, split: str, *, adapter: str = "json") -> dict[str, Any]:
    """Return a training row of a program's predictor."""
    outputs = {"intent": ticket.intent}
    answer = json.dumps(outputs) if adapter == "json" else _CHAT_ANSWER.format(**outputs)
    return {
        "messages": [*prompt(ticket.text), {"role": "assistant", "content": answer}],
        "inputs": {"text": ticket.text},
        "outputs": outputs,
        "split": split,
        "weight": 1.0,
    }


def as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _text(random_: random.Random, intent: str) -> str:
    text = _fill(random_, random_.choice(PHRASES[intent]))
    text = random_.choice(_OPENINGS) + text + random_.choice(_ENDINGS)
    if random_.random() < 0.3:
        text = f"{text} {_fill(random_, random_.choice(_CHATTER))}"
    if random_.random() < 0.3:
        text = text.lower()
    return " ".join(_typo(random_, word) for word in text.split(" "))


def _fill(random_: random.Random, template: str) -> str:
    return template.format(**{name: random_.choice(values) for name, values in SLOTS.items()})


def _typo(random_: random.Random, word: str) -> str:
    if len(word) < 4 or random_.random() > 0.05:
        return word
    at = random_.randrange(len(word) - 1)
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return random_.choice([swapped, word[:at] + word[at + 1 :], word[:at] + word[at] + word[at:]])
