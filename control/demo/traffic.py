"""The demo's callers: the plain `openai` SDK, no retries, and the truth for every request later."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import openai

from control.demo.scene import STUDENT_PRICE
from control.demo.stand_in import PRICE_IN, PRICE_OUT
from control.demo.world import Question, World

#: the truth follows its request after this time, seconds
TRUTH_AFTER_S = 0.5
_MAX_OPEN = 96
_LOOK_S = 0.05
_MOST_ERRORS = 5


@dataclass
class Window:
    """What callers saw during one part of the story."""

    sent: int = 0
    failed: int = 0
    right: int = 0
    latencies_s: list[float] = field(default_factory=list)
    #: teacher or student -> answers
    served_by: dict[str, int] = field(default_factory=dict)
    #: at the demo's assumed prices
    cost_usd: float = 0.0

    @property
    def answered(self) -> int:
        return len(self.latencies_s)

    def quantile(self, share: float) -> float | None:
        """The latency that ``share`` of the answers did not exceed, seconds."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What a caller reads from one response."""

    category: str
    by: str
    cost_usd: float
    inference_id: str | None


class Traffic:
    """Sends questions at a rate, each once, and the truth for each a little later."""

    def __init__(
        self, *, base_url: str, api_key: str, route: str, world: World, total: int, rate: float
    ) -> None:
        self.rate = rate
        self.policy = 1
        #: nobody asks; what is under way is still answered
        self.resting = False
        self.windows: dict[str, Window] = {}
        #: the first few failures, as the callers saw them
        self.errors: list[str] = []
        self._route = route
        self._questions = world.questions(total)
        self._world = world
        self._phase = self.phase("start")
        self._open: set[asyncio.Task[None]] = set()
        self._stopped = False
        # Both go to this machine: a proxy in the environment is not meant for them.
        self._client = openai.AsyncOpenAI(
            base_url=base_url, api_key=api_key, max_retries=0, timeout=60.0,
            http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
        )  # fmt: skip
        self._feedback = httpx.AsyncClient(
            base_url=base_url, headers={"authorization": f"Bearer {api_key}"}, timeout=30.0,
            trust_env=False,
        )  # fmt: skip

    def phase(self, name: str) -> Window:
        """Count under ``name`` from now on."""
        self._phase = self.windows.setdefault(name, Window())
        return self._phase

    @property
    def sent(self) -> int:
        return sum(w.sent for w in self.windows.values())

    @property
    def failed(self) -> int:
        return sum(w.failed for w in self.windows.values())

    @property
    def left(self) -> int:
        return len(self._questions) - self.sent

    def stop(self) -> None:
        """Send nothing more; what is in flight is still answered."""
        self._stopped = True

    async def run(self) -> None:
        """Send until `stop`, or until the questions are used up.

        Raises `RuntimeError` if a request is lost: then no count could be believed.
        """
        async with self._client, self._feedback:
            due = time.monotonic()
            for question in self._questions:
                due = max(due + 1.0 / self.rate, time.monotonic() - 1.0)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                while self.resting and not self._stopped:
                    await asyncio.sleep(_LOOK_S)
                    due = time.monotonic()  # callers who rested have nothing to make up for
                while len(self._open) >= _MAX_OPEN:
                    await asyncio.wait(set(self._open), return_when=asyncio.FIRST_COMPLETED)
                if self._stopped:
                    break
                self._start(self._ask(question))
            while self._open:
                await asyncio.wait(set(self._open))
        self._check()

    def _check(self) -> None:
        """That nothing failed is a claim: each request must be among the answered or the failed."""
        for name, window in self.windows.items():
            lost = window.sent - window.answered - window.failed
            if lost:
                raise RuntimeError(
                    f"{lost} of {window.sent} requests of {name!r} were neither answered nor "
                    "failed. This is a fault of limbeck's demo: please report it"
                )

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _ask(self, question: Question) -> None:
        window, truth = self._phase, self._world.truth(question.text, policy=self.policy)
        window.sent += 1
        started = time.monotonic()
        try:
            answer = await self._answer(question)
        except Exception as error:
            # Whatever it is: for the caller an answer that can't be read is a failed request.
            window.failed += 1
            self._note(f"{type(error).__name__}: {error}")
            return
        window.latencies_s.append(time.monotonic() - started)
        window.served_by[answer.by] = window.served_by.get(answer.by, 0) + 1
        window.cost_usd += answer.cost_usd
        window.right += answer.category == truth
        if answer.inference_id is not None:
            self._start(self._tell(answer.inference_id, truth))

    async def _answer(self, question: Question) -> _Answer:
        raw = await self._client.chat.completions.with_raw_response.create(
            model=self._route, messages=[{"role": "user", "content": question.text}]
        )
        completion = raw.parse()
        by, used = raw.headers.get("x-limbeck-served-by", "?"), completion.usage
        return _Answer(
            category=category_of(completion.choices[0].message.content or ""),
            by=by,
            cost_usd=_cost(by, used.prompt_tokens, used.completion_tokens) if used else 0.0,
            inference_id=raw.headers.get("x-limbeck-inference-id"),
        )

    async def _tell(self, inference_id: str, truth: str) -> None:
        await asyncio.sleep(TRUTH_AFTER_S)
        body = {
            "inference_id": inference_id, "metric": "truth", "value": True,
            "gold": {"category": truth}, "source": "helpdesk",
        }  # fmt: skip
        try:
            (await self._feedback.post("feedback", json=body)).raise_for_status()
        except Exception as error:
            self._note(f"feedback: {type(error).__name__}: {error}")

    def _note(self, error: str) -> None:
        if len(self.errors) < _MOST_ERRORS:
            self.errors.append(error[:300])


def _cost(by: str, tokens_in: int, tokens_out: int) -> float:
    price_in, price_out = (STUDENT_PRICE,) * 2 if by == "student" else (PRICE_IN, PRICE_OUT)
    return (tokens_in * price_in + tokens_out * price_out) / 1e6


def category_of(answer: str) -> str:
    """The category in the program's JSON answer; the answer itself where it is none."""
    try:
        found = msgspec.json.decode(answer)
    except ValueError:
        return answer.strip()
    return str(found.get("category", "")) if isinstance(found, dict) else answer.strip()
