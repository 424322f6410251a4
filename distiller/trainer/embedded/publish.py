"""The trained model as the student server's files: converted, self-tested, calibrated."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from ctranslate2.converters import TransformersConverter
from transformers import PreTrainedTokenizerFast

from distiller.artefact import Manifest, encode, seal
from distiller.student_server.answer import Unusable
from distiller.student_server.embedded import (
    GENERATION_FILE,
    MODEL_FOLDER,
    TEMPLATE_FILE,
    TOKENIZER_FILE,
    EmbeddedModel,
    Generated,
    Generation,
)
from distiller.trainer.calibration import fit_map
from distiller.trainer.embedded.examples import Example
from distiller.trainer.embedded.tokenizer import END, TEMPLATE
from distiller.trainer.refusal import Refused

SELF_TEST_ROWS = 20


def convert(
    folder: Path, *, model: Any, tokenizer: PreTrainedTokenizerFast, tokenizer_json: bytes
) -> None:
    """Write ``ct2/``, the tokenizer and the template to ``folder``."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as transformers_folder:
        model.save_pretrained(transformers_folder)
        tokenizer.save_pretrained(transformers_folder)
        TransformersConverter(transformers_folder).convert(str(folder / MODEL_FOLDER))
    (folder / TOKENIZER_FILE).write_bytes(tokenizer_json)
    (folder / TEMPLATE_FILE).write_text(TEMPLATE, encoding="utf-8")


def seal_with(folder: Path, generation: Generation, manifest: Manifest) -> EmbeddedModel:
    """Write what is known so far and read the model back as the student server does."""
    (folder / GENERATION_FILE).write_bytes(encode(generation))
    seal(folder, manifest)
    return EmbeddedModel.load(folder, threads=1)


def self_test(
    served: EmbeddedModel,
    *,
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    examples: Iterable[Example],
) -> None:
    """Raises `Refused` unless the converted model writes the same text as torch does.

    The first `SELF_TEST_ROWS` of ``examples`` that the served model takes are tried.
    """
    tested = 0
    for example in examples:
        found = _generated(served, example)
        if found is None:
            continue
        expected = _torch_text(model, tokenizer, example)
        if found.text != expected:
            raise Refused(
                f"self-test: the converted model writes {found.text!r}, torch {expected!r}. This "
                "is a fault of limbeck: please report it",
                code="self_test_failed",
            )
        tested += 1
        if tested == SELF_TEST_ROWS:
            return


def score(served: EmbeddedModel, examples: Sequence[Example]) -> float | None:
    """Return the share of examples that are answered exactly as they should be.

    One whose prompt the served model does not take counts as wrong: it is left to the teacher.
    """
    if not examples:
        return None
    right = sum(_right(_generated(served, example), example) for example in examples)
    return round(right / len(examples), 4)


def calibrate(
    served: EmbeddedModel, generation: Generation, examples: Sequence[Example]
) -> Generation:
    """Fit the map from probability to confidence; unchanged with too few examples.

    Examples whose prompt the served model does not take never get a confidence, so they are no
    part of the map.
    """
    answers = [(_generated(served, example), example) for example in examples]
    found = fit_map(
        [answer.probability for answer, _ in answers if answer is not None],
        [_right(answer, example) for answer, example in answers if answer is not None],
    )
    if found is None:
        return generation
    slope, intercept = found
    return msgspec.structs.replace(generation, slope=slope, intercept=intercept)


def first_generation(
    tokenizer: PreTrainedTokenizerFast,
    examples: Sequence[Example],
    values: dict[str, tuple[str, ...] | None],
) -> Generation:
    """Return the limits that the training rows suggest, with room above them, uncalibrated."""
    prompts = [len(tokenizer(prompt_text(tokenizer, e))["input_ids"]) for e in examples]
    answers = [len(tokenizer(e.completion)["input_ids"]) for e in examples]
    return Generation(
        end_token=END,
        most_prompt_tokens=max(prompts) * 5 // 4 + 32,
        most_answer_tokens=max(answers) * 3 // 2 + 8,
        values=values,
        slope=1.0,
        intercept=0.0,
    )


def prompt_text(tokenizer: PreTrainedTokenizerFast, example: Example) -> str:
    text: str = tokenizer.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in example.prompt],
        tokenize=False,
        add_generation_prompt=True,
    )
    return text


def _generated(served: EmbeddedModel, example: Example) -> Generated | None:
    """What the served model writes; None: its prompt is longer than the model takes."""
    try:
        return served.generate(example.prompt)
    except Unusable:
        return None


def _right(answer: Generated | None, example: Example) -> bool:
    return answer is not None and answer.text.strip() == example.completion


@torch.no_grad()  # type: ignore[untyped-decorator]
def _torch_text(model: Any, tokenizer: PreTrainedTokenizerFast, example: Example) -> str:
    ids = tokenizer(
        prompt_text(tokenizer, example), return_tensors="pt", return_token_type_ids=False
    )
    limit = len(tokenizer(example.completion)["input_ids"]) * 3 // 2 + 8
    output = model.generate(**ids, max_new_tokens=limit, do_sample=False)
    body = output[0, ids["input_ids"].shape[1] :].tolist()
    if tokenizer.eos_token_id in body:
        body = body[: body.index(tokenizer.eos_token_id)]
    text: str = tokenizer.backend_tokenizer.decode(body, skip_special_tokens=False)
    return text
