"""An embedded student: a tiny language model run by CTranslate2. No torch, one core a request.

Files: ``ct2/`` (the model), ``tokenizer.json``, ``chat_template.jinja``, ``generation.json``
(`Generation`). This is the one module of the server that needs ``limbeck[serve]``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ctranslate2
import jinja2.sandbox
import msgspec
from tokenizers import Tokenizer

from distiller.artefact import ArtefactError, Manifest, read_manifest
from distiller.chat import Message
from distiller.student_server.answer import Answer, Question, Token, Unusable
from distiller.student_server.shapes import (
    fill_placeholder,
    logit,
    parse_answer,
)

MODEL_FOLDER = "ct2"
TOKENIZER_FILE = "tokenizer.json"
TEMPLATE_FILE = "chat_template.jinja"
GENERATION_FILE = "generation.json"


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """What ``generation.json`` holds: how to generate, and what counts as usable."""

    end_token: str
    #: longer prompts were never trained on
    most_prompt_tokens: int
    most_answer_tokens: int
    #: field -> the values seen in training; None: the field is open
    values: dict[str, tuple[str, ...] | None]
    #: of the map from the answer's probability to the confidence that it shows
    slope: float
    intercept: float


class Generated(NamedTuple):
    """What the model wrote."""

    text: str
    tokens: tuple[Token, ...]
    #: the model ended by itself
    complete: bool
    prompt_tokens: int

    @property
    def probability(self) -> float:
        return math.exp(sum(token.logprob for token in self.tokens))


class EmbeddedModel:
    """Safe to share between threads: CTranslate2 queues what its own threads can't take."""

    def __init__(
        self,
        *,
        manifest: Manifest,
        generation: Generation,
        generator: Any,
        tokenizer: Any,
        template: jinja2.Template,
    ) -> None:
        self.manifest = manifest
        self._generation = generation
        self._generator = generator
        self._tokenizer = tokenizer
        self._template = template
        self._end = tokenizer.token_to_id(generation.end_token)

    @classmethod
    def load(cls, folder: Path, *, threads: int) -> EmbeddedModel:
        """Read a folder whose hashes were checked. Raises `ArtefactError`."""
        manifest = read_manifest(folder)
        sandbox = jinja2.sandbox.ImmutableSandboxedEnvironment()
        try:
            generation = msgspec.json.decode(
                (folder / GENERATION_FILE).read_bytes(), type=Generation
            )
            template = sandbox.from_string((folder / TEMPLATE_FILE).read_text(encoding="utf-8"))
            tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
            generator = ctranslate2.Generator(
                str(folder / MODEL_FOLDER), device="cpu", inter_threads=threads, intra_threads=1
            )
        except Exception as error:  # tokenizers raises bare Exception
            raise ArtefactError(
                f"{folder} can't be read as an embedded student: {error}"
            ) from error
        return cls(
            manifest=manifest,
            generation=generation,
            generator=generator,
            tokenizer=tokenizer,
            template=template,
        )

    def answer(self, question: Question) -> Answer:
        """Raises `Unusable` for a prompt or an answer unlike those of the training rows."""
        generated = self.generate(question.messages, most_tokens=question.max_tokens)
        if not generated.complete:
            raise Unusable(f"the answer did not end within {len(generated.tokens)} tokens")
        self._check(generated.text)
        confidence = self.confidence(generated.probability)
        return Answer(
            text=fill_placeholder(generated.text, confidence),
            tokens=tuple(
                Token(fill_placeholder(token.text, confidence), token.logprob)
                for token in generated.tokens
            ),
            prompt_tokens=generated.prompt_tokens,
            completion_tokens=len(generated.tokens) + 1,
        )

    def generate(self, messages: Sequence[Message], *, most_tokens: int | None = None) -> Generated:
        """Write the most likely answer, unchecked. Raises `Unusable` for a prompt too long."""
        prompt = self._prompt_tokens(messages)
        limit = self._generation.most_answer_tokens
        if most_tokens is not None:
            limit = max(1, min(limit, most_tokens))
        steps: list[tuple[int, float]] = []

        def note(step: Any) -> bool:
            steps.append((step.token_id, step.log_prob))
            return False  # go on

        self._generator.generate_batch(
            [prompt],
            max_length=limit,
            sampling_topk=1,
            include_prompt_in_result=False,
            end_token=self._generation.end_token,
            return_end_token=True,
            return_scores=True,  # without it the steps carry no log probability
            callback=note,
        )
        complete = bool(steps) and steps[-1][0] == self._end
        body = steps[:-1] if complete else steps
        return Generated(
            text=self._decode([token for token, _ in body]),
            tokens=tuple(Token(self._decode([token]), logprob) for token, logprob in body),
            complete=complete,
            prompt_tokens=len(prompt),
        )

    def close(self) -> None:
        """End the model's threads. Left to the interpreter's exit they may abort the process."""
        self._generator = None

    def confidence(self, probability: float) -> float:
        """Map the probability of an answer to how often such answers were right."""
        z = self._generation.slope * logit(probability) + self._generation.intercept
        return 1 / (1 + math.exp(-z))

    def _prompt_tokens(self, messages: Sequence[Message]) -> list[str]:
        text = self._template.render(
            messages=[{"role": m.role, "content": m.content} for m in messages],
            add_generation_prompt=True,
        )
        tokens: list[str] = self._tokenizer.encode(text, add_special_tokens=False).tokens
        if len(tokens) > self._generation.most_prompt_tokens:
            raise Unusable(
                f"the prompt has {len(tokens)} tokens, the student was trained on at most "
                f"{self._generation.most_prompt_tokens}"
            )
        return tokens

    def _check(self, text: str) -> None:
        try:
            fields = parse_answer(text, self.manifest.adapter)
        except ValueError as error:
            raise Unusable(str(error)) from None
        for name, values in self._generation.values.items():
            if name not in fields:
                raise Unusable(f"the answer lacks the field {name!r}")
            if values is not None and fields[name] not in values:
                raise Unusable(f"the answer's {name!r} is no value of the training rows")

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False)
        return text
