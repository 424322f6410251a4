"""The embedded trainer, from rows to a sealed folder.

Every step before the training is repeatable, or its result is kept in the work folder, so that a
resumed job ends as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import msgspec
from datasets import disable_progress_bars
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from distiller.artefact import Manifest, write_durably
from distiller.skeleton import skeleton_of
from distiller.trainer.embedded import publish
from distiller.trainer.embedded.budget import MOST_EPOCHS, Plan, plan, steps_per_epoch
from distiller.trainer.embedded.examples import Answers, Example, example_of, study_answers
from distiller.trainer.embedded.tokenizer import build_tokenizer, load_tokenizer
from distiller.trainer.embedded.training import (
    MOST_TOKENS,
    Material,
    Trained,
    batch_size,
    make_model,
    measure_step_s,
    prepare_torch,
    train,
)
from distiller.trainer.refusal import Refused
from distiller.trainer.run import Draft, Run, check_row_count, versions

LEAST_ROWS = 800
#: rows too long for the model; more than this share and the job is refused
_MOST_DROPPED = 0.01


def train_embedded(run: Run) -> Draft:
    """Train, convert, self-test, calibrate. Raises `Refused` for free text or too few rows."""
    check_row_count(run, default=LEAST_ROWS)
    adapter = run.job.adapter
    answers = study_answers(run.rows.train, adapter)
    run.work.mkdir(parents=True, exist_ok=True)
    disable_progress_bars()
    transformers_logging.set_verbosity_error()
    prepare_torch(run.job.seed)
    examples = [example_of(row, answers, adapter) for row in run.rows.train]
    dev = [example_of(row, answers, adapter) for row in run.rows.dev]
    material = _material(run, examples, dev, answers)
    model = make_model(material.tokenizer)
    chosen = _plan(run, model, material)
    prepare_torch(run.job.seed)  # the measurement drew random numbers
    run.events.add(
        "progress",
        f"Training {sum(p.numel() for p in model.parameters()):,} weights for at most "
        f"{chosen.epochs} epochs, about {chosen.predicted_s:.0f} s",
        stage="train",
        eta_s=chosen.predicted_s,
    )
    trained = train(run, model, material, chosen)
    run.events.add("progress", "Converting and testing the model", stage="convert", eta_s=5.0)
    return _draft(run, material, dev, answers, trained, chosen)


def _material(
    run: Run, examples: Sequence[Example], dev: Sequence[Example], answers: Answers
) -> Material:
    path = run.work / "tokenizer.json"
    if not path.exists():  # once a job: a second one might number its tokens differently
        run.events.add("progress", f"Reading {len(examples)} rows", stage="features")
        built: Tokenizer = build_tokenizer(examples, answers)
        write_durably(path, built.to_str().encode())
    tokenizer = load_tokenizer(path)
    lengths = [_length(tokenizer, example) for example in examples]
    fitting = [e for e, n in zip(examples, lengths, strict=True) if n <= MOST_TOKENS]
    dropped = len(examples) - len(fitting)
    if dropped > _MOST_DROPPED * len(examples):
        raise Refused(
            f"{dropped} of {len(examples)} training rows are longer than {MOST_TOKENS} tokens "
            "(the longest that this model reads). Use the classifier, or shorten the prompts"
        )
    return Material(
        train=fitting,
        dev=[e for e in dev if _length(tokenizer, e) <= MOST_TOKENS],
        tokenizer=tokenizer,
        longest=MOST_TOKENS if dropped else max(lengths),
    )


def _length(tokenizer: PreTrainedTokenizerFast, example: Example) -> int:
    prompt = len(tokenizer(publish.prompt_text(tokenizer, example))["input_ids"])
    return prompt + len(tokenizer(example.completion)["input_ids"]) + 1


def _plan(run: Run, model: object, material: Material) -> Plan:
    """Decide on the epochs once a job, by the clock; a resumption keeps the decision."""
    path = run.work / "plan.json"
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    wished = run.job.hyperparameters.n_epochs or MOST_EPOCHS
    steps = steps_per_epoch(len(material.train), batch_size(run))
    chosen = plan(
        epoch_s=measure_step_s(run, model, material) * steps,
        epochs=wished,
        max_seconds=run.job.hyperparameters.max_seconds,
    )
    write_durably(path, msgspec.json.encode(chosen))
    return chosen


def _draft(
    run: Run,
    material: Material,
    dev: Sequence[Example],
    answers: Answers,
    trained: Trained,
    chosen: Plan,
) -> Draft:
    folder = run.fresh_draft()
    publish.convert(
        folder,
        model=trained.model,
        tokenizer=material.tokenizer,
        tokenizer_json=(run.work / "tokenizer.json").read_bytes(),
    )
    generation = publish.first_generation(material.tokenizer, material.train, answers.values)
    manifest = Manifest(
        kind="embedded",
        files={},
        adapter=run.job.adapter,
        skeleton=skeleton_of(row.prompt for row in run.rows.train),
        trained_rows=len(material.train),
        dev_score=None,
        temperature=None,
        filled=() if answers.confidence is None else (answers.confidence,),
        versions=versions("torch", "transformers", "trl", "tokenizers", "ctranslate2"),
        seed=run.job.seed,
        time_limited=trained.time_limited or chosen.shortened,
    )
    served = publish.seal_with(folder, generation, manifest)
    publish.self_test(
        served,
        model=trained.model,
        tokenizer=material.tokenizer,
        examples=chain(dev, material.train),
    )
    dev_score = publish.score(served, dev)
    held_out = [
        example_of(row, answers, run.job.adapter) for row in (run.rows.calibration or run.rows.dev)
    ]
    calibrated = publish.calibrate(served, generation, held_out)
    publish.seal_with(folder, calibrated, msgspec.structs.replace(manifest, dev_score=dev_score))
    return Draft(folder=folder, dev_score=dev_score, trained_tokens=trained.trained_tokens)


__all__ = ["train_embedded"]
