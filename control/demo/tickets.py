"""Generated support tickets: twelve intents, many phrasings, slots, typos. Written for limbeck.

Pure and seeded: the same seed gives the same tickets on every machine. `relabelled` is the change
of the world in the demo: the support team merges some queues, so the same text has a new truth.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

#: intent -> ways to say it; {o} order, {p} product, {m} amount, {d} day
_PHRASES: dict[str, tuple[str, ...]] = {
    "track_order": (
        "where is my order {o}",
        "the tracking page for {o} has not moved since {d}",
        "my {p} was meant to be here on {d}, any news",
        "can you see where the parcel with my {p} is",
        "order {o} still says in transit",
        "when does the {p} I bought arrive",
        "the courier has not shown up with my {p}",
        "I have no delivery date for {o}",
        "could you look up the shipment of {o}",
        "has my {p} left the warehouse yet",
    ),
    "refund_status": (
        "I sent the {p} back on {d} and see no money yet",
        "when do I get the {m} back for {o}",
        "the refund for {o} is not on my card",
        "how long until the returned {p} is paid back",
        "you confirmed my return but {m} is still missing",
        "waiting for the repayment of {m}",
        "my bank shows no credit for the {p} I returned",
        "is the money for order {o} on its way back",
        "refund promised on {d}, nothing has come",
        "please check the state of my refund of {m}",
    ),
    "duplicate_charge": (
        "I was charged twice for {o}",
        "there are two payments of {m} on my statement",
        "you took {m} two times on {d}",
        "the same order {o} was billed double",
        "my card shows the {p} paid for twice",
        "one order, two charges of {m}",
        "please reverse the second payment for {o}",
        "why did you debit {m} again on {d}",
        "double booking of {m} from your shop",
        "the payment for my {p} went through two times",
    ),
    "change_address": (
        "please send {o} to another address",
        "I moved, can the {p} go to my new flat",
        "wrong street on order {o}, how do I fix it",
        "I typed an old delivery address for {o}",
        "can you redirect the parcel to my office",
        "update where you ship my {p}",
        "the house number on {o} is not right",
        "need to change the shipping address before {d}",
        "my neighbour should receive the {p}, can I change it",
        "deliver {o} to a pickup point instead",
    ),
    "cancel_order": (
        "cancel {o} please",
        "I do not want the {p} any more, stop the order",
        "how can I call off order {o}",
        "ordered the {p} by mistake, take it back out",
        "is it too late to cancel what I bought on {d}",
        "please do not ship {o}",
        "I found the {p} cheaper, cancel mine",
        "withdraw my order of {d}",
        "abort the purchase {o} before it ships",
        "I changed my mind about the {p}",
    ),
    "cancel_subscription": (
        "end my membership",
        "I want to stop the monthly plan",
        "how do I unsubscribe from the premium plan",
        "do not renew my subscription on {d}",
        "please close the plan that costs {m} a month",
        "cancel the yearly membership",
        "I no longer need the premium account, end it",
        "switch off the automatic renewal",
        "stop billing me {m} every month",
        "terminate my subscription as of {d}",
    ),
    "damaged_item": (
        "the {p} arrived broken",
        "there is a crack in the {p} from order {o}",
        "my parcel was wet and the {p} is ruined",
        "the {p} has a dent and does not turn on",
        "you delivered a smashed {p}",
        "the box of {o} was torn, contents damaged",
        "one part of the {p} is snapped off",
        "scratches all over my new {p}",
        "the {p} came in pieces on {d}",
        "glass of the {p} is shattered",
    ),
    "wrong_item": (
        "I ordered a {p} and got something else",
        "this is not the {p} I paid for",
        "order {o} contains the wrong colour",
        "you sent me another customer's things",
        "the size of the {p} is not what I chose",
        "received a different model than the {p}",
        "the parcel {o} has an item I never ordered",
        "mix up in my delivery of {d}",
        "instead of the {p} there was a lamp in the box",
        "the article number on {o} does not match",
    ),
    "login_problem": (
        "I cannot sign in",
        "the password reset mail never arrives",
        "my account is locked since {d}",
        "the code for signing in does not work",
        "it says my email is unknown",
        "forgot my password and the link is expired",
        "two factor code is refused",
        "I am logged out again and again",
        "your site does not accept my password",
        "how do I get back into my account",
    ),
    "invoice_request": (
        "I need an invoice for {o}",
        "please send the bill for my {p} as PDF",
        "the receipt for {m} is missing",
        "can I get a VAT invoice for the order of {d}",
        "my company needs a proper bill for {o}",
        "where do I download the receipt for the {p}",
        "put our company name on the invoice for {o}",
        "no invoice came with the {p}",
        "send me the tax document for {m}",
        "a copy of the bill from {d} please",
    ),
    "warranty_claim": (
        "the {p} stopped working after five months",
        "is the {p} still under warranty",
        "battery of my {p} died, what about the guarantee",
        "I want to use the guarantee for the {p}",
        "the {p} from order {o} failed within a year",
        "motor of the {p} gave up last week",
        "who repairs the {p} under warranty",
        "how do I claim the two year guarantee on {o}",
        "screen of the {p} went black after some months",
        "the {p} needs a repair on guarantee",
    ),
    "discount_code": (
        "my voucher does not work",
        "the code for ten percent is refused at checkout",
        "I forgot to enter the coupon on {o}",
        "the promotion price for the {p} is not applied",
        "newsletter discount is missing from {o}",
        "can I still use the code from {d}",
        "your coupon says it is expired",
        "it took {m} although I had a voucher",
        "how do I redeem the gift code",
        "the reduction for students is not deducted",
    ),
}
_OPENERS = (
    "hi",
    "hello",
    "hey there",
    "good morning",
    "dear team",
    "hi support",
    "quick question",
    "sorry to bother you",
    "I am a bit annoyed",
    "not sure this is the right place",
    "second time I write",
    "hope you can help",
    "evening",
    "this is urgent",
    "hello again",
    "I have tried the chat already",
    "",
    "",
    "",
)
_CLOSERS = (
    "thanks",
    "thank you in advance",
    "please hurry",
    "kind regards",
    "what should I do",
    "let me know",
    "I am waiting for your reply",
    "that would be great",
    "cheers",
    "it is getting frustrating",
    "can somebody call me",
    "I have been a customer for years",
    "best",
    "",
    "",
    "",
    "",
)
#: sentences that say nothing about the intent, or name another one in passing
_ASIDES = (
    "I bought it for my daughter",
    "the app looks nice by the way",
    "I paid by card",
    "last time everything went fine",
    "my previous delivery was quick",
    "I already have an account with you",
    "we are on holiday from {d}",
    "it was a present",
    "I like the {p} otherwise",
    "the shop in town sent me here",
    "I ordered from my phone",
    "my email is in your system",
    "the newsletter brought me here",
    "",
    "",
    "",
    "",
    "",
)
_PRODUCTS = (
    "kettle",
    "headphones",
    "desk lamp",
    "running shoes",
    "coffee grinder",
    "backpack",
    "rain jacket",
    "monitor",
    "keyboard",
    "toaster",
    "camera bag",
    "office chair",
    "blender",
    "tent",
    "bike light",
    "smart watch",
    "air fryer",
    "yoga mat",
    "speaker",
    "winter coat",
)
_DAYS = (
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "the 3rd",
    "the 12th",
    "the 21st",
    "last week",
    "yesterday",
)

INTENTS: tuple[str, ...] = tuple(_PHRASES)

#: the new policy: one queue for money, one for deliveries, one for broken things
_MERGED = {
    "refund_status": "duplicate_charge",
    "change_address": "track_order",
    "cancel_subscription": "cancel_order",
    "warranty_claim": "damaged_item",
    "wrong_item": "damaged_item",
}


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """A customer's message and the queue that it belongs to."""

    text: str
    intent: str


def relabelled(intent: str) -> str:
    """The queue of the same message after the labelling policy moved."""
    return _MERGED.get(intent, intent)


def tickets(n: int, *, seed: int) -> list[Ticket]:
    """Make ``n`` tickets; the same seed gives the same tickets."""
    rng = random.Random(seed)
    made: list[Ticket] = []
    for _ in range(n):
        intent = rng.choice(INTENTS)
        made.append(Ticket(text=_write(intent, rng), intent=intent))
    return made


def _write(intent: str, rng: random.Random) -> str:
    parts = [
        rng.choice(_OPENERS),
        rng.choice(_PHRASES[intent]),
        rng.choice(_ASIDES),
        rng.choice(_CLOSERS),
    ]
    if rng.random() < 0.2:
        parts[1], parts[2] = parts[2], parts[1]
    slots = {
        "o": f"{rng.choice('ABCDEFGH')}{rng.randrange(10_000, 99_999)}",
        "p": rng.choice(_PRODUCTS),
        "m": f"{rng.randrange(5, 400)}.{rng.randrange(100):02d}",
        "d": rng.choice(_DAYS),
    }
    text = rng.choice((", ", ". ", " - ")).join(part.format(**slots) for part in parts if part)
    return " ".join(_typo(word, rng) if rng.random() < 0.05 else word for word in text.split(" "))


def _typo(word: str, rng: random.Random) -> str:
    if len(word) < 4 or not word.isalpha():
        return word
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    return word[:at] + word[at] + word[at:]
