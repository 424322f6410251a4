"""One training run with trl: small model, loss on the answer only, early stopping, checkpoints."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    EarlyStoppingCallback,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    TrainerCallback,
    set_seed,
)
from trl import SFTConfig, SFTTrainer

from distiller.trainer.embedded.budget import Plan
from distiller.trainer.embedded.checkpoints import last_complete, mark_complete
from distiller.trainer.embedded.examples import Example
from distiller.trainer.run import Run

#: positions that the model knows; longer rows are dropped
MOST_TOKENS = 2048
_HIDDEN, _LAYERS, _HEADS, _KV_HEADS, _FFN = 128, 2, 4, 2, 384
#: about 0.7 / sqrt(hidden): with transformers' 0.02 a model this small hardly learns
_INITIALIZER_RANGE = 0.06
_LEARNING_RATE = 3e-3
_BATCH = 8
_WARMUP_STEPS = 20
_PATIENCE = 3
_PROBE_STEPS = 20
_LOG_STEPS = 10


@dataclass(frozen=True, kw_only=True)
class Material:
    """What is trained on."""

    train: Sequence[Example]
    dev: Sequence[Example]
    tokenizer: PreTrainedTokenizerFast
    #: tokens of the longest row
    longest: int


@dataclass(frozen=True, kw_only=True)
class Trained:
    model: Any
    #: stopped by the clock
    time_limited: bool
    trained_tokens: int


def prepare_torch(seed: int) -> None:
    """One thread, fixed seeds; on a GPU also deterministic kernels where there are any."""
    torch.set_num_threads(1)
    set_seed(seed)
    if torch.cuda.is_available():  # on one CPU thread they change nothing but the speed
        torch.use_deterministic_algorithms(True, warn_only=True)


def make_model(tokenizer: PreTrainedTokenizerFast) -> Any:
    """Return a fresh model: a Qwen3 of half a million weights."""
    config = Qwen3Config(
        vocab_size=(len(tokenizer) + 63) // 64 * 64,
        hidden_size=_HIDDEN,
        num_hidden_layers=_LAYERS,
        num_attention_heads=_HEADS,
        num_key_value_heads=_KV_HEADS,
        head_dim=_HIDDEN // _HEADS,
        intermediate_size=_FFN,
        max_position_embeddings=MOST_TOKENS,
        tie_word_embeddings=True,
        initializer_range=_INITIALIZER_RANGE,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def batch_size(run: Run) -> int:
    return run.job.hyperparameters.batch_size or _BATCH


def measure_step_s(run: Run, model: Any, material: Material) -> float:
    """Return the seconds of a training step, measured on a copy of the model."""
    clock = _StepClock()
    arguments = _arguments(run, material, epochs=1, folder=run.work / "probe", steps=_PROBE_STEPS)
    _trainer(copy.deepcopy(model), arguments, material, [clock], evaluate=False).train()
    return clock.step_s


def train(run: Run, model: Any, material: Material, plan: Plan) -> Trained:
    """Train from the last intact checkpoint, if any.

    Raises `Stopped` on SIGTERM, after writing a checkpoint at the next step.
    """
    folder = run.work / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    watch = _Watch(run, max_seconds=plan.max_seconds)
    arguments = _arguments(run, material, epochs=plan.epochs, folder=folder)
    callbacks = [watch, EarlyStoppingCallback(early_stopping_patience=_PATIENCE)]
    trainer = _trainer(model, arguments, material, callbacks, evaluate=True)
    resume = last_complete(folder)
    with run.stop.deferred():
        trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    return Trained(
        model=trainer.model.to("cpu").eval(),
        time_limited=watch.time_limited,
        trained_tokens=int(trainer.state.num_input_tokens_seen or 0),
    )


def _arguments(
    run: Run, material: Material, *, epochs: int, folder: Path, steps: int = -1
) -> SFTConfig:
    probing = steps > 0
    multiplier = run.job.hyperparameters.learning_rate_multiplier or 1.0
    return SFTConfig(
        output_dir=str(folder),
        num_train_epochs=epochs,
        max_steps=steps,
        per_device_train_batch_size=batch_size(run),
        per_device_eval_batch_size=32,
        learning_rate=_LEARNING_RATE * multiplier,
        lr_scheduler_type="cosine",
        warmup_steps=_WARMUP_STEPS,
        weight_decay=0.01,
        # trl's default of 1024 cuts the end off, which is where the answer is
        max_length=material.longest,
        completion_only_loss=True,
        packing=False,
        gradient_checkpointing=False,
        bf16=False,
        fp16=False,
        use_cpu=not torch.cuda.is_available(),
        eval_strategy="no" if probing else "epoch",
        save_strategy="no" if probing else "epoch",
        save_total_limit=2,
        load_best_model_at_end=not probing,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        include_num_input_tokens_seen="all",
        logging_steps=_LOG_STEPS,
        report_to="none",
        disable_tqdm=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        seed=run.job.seed % 2**31,
        data_seed=run.job.seed % 2**31,
    )


def _trainer(
    model: Any,
    arguments: SFTConfig,
    material: Material,
    callbacks: list[Any],
    *,
    evaluate: bool,
) -> Any:
    return SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=_dataset(material.train),
        eval_dataset=_dataset(material.dev) if evaluate else None,
        processing_class=material.tokenizer,
        callbacks=callbacks,
    )


def _dataset(examples: Sequence[Example]) -> Dataset:
    return Dataset.from_list(
        [
            {
                "prompt": [{"role": m.role, "content": m.content} for m in example.prompt],
                "completion": [{"role": "assistant", "content": example.completion}],
            }
            for example in examples
        ]
    )


class _StepClock(TrainerCallback):  # type: ignore[misc]
    """Times steps; the first few warm caches up and don't count."""

    _WARM_UP = 3

    def __init__(self) -> None:
        self.step_s = 0.0
        self._since = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        now = time.perf_counter()
        if state.global_step <= self._WARM_UP:
            self._since = now
        else:
            self.step_s = (now - self._since) / (state.global_step - self._WARM_UP)


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Reports progress, marks checkpoints, and stops for SIGTERM or the clock."""

    def __init__(self, run: Run, *, max_seconds: float) -> None:
        self._run = run
        self._max_seconds = max_seconds
        self._began = time.monotonic()
        self._first_step = 0
        self.time_limited = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._began = time.monotonic()
        self._first_step = state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if time.monotonic() - self._began > self._max_seconds:
            self.time_limited = True
        if self._run.stop.requested or self.time_limited:
            control.should_save = True
            control.should_training_stop = True

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        logs = logs or {}
        if "loss" not in logs and "eval_loss" not in logs:
            return
        done = state.global_step - self._first_step
        spent = time.monotonic() - self._began
        left = min(spent / max(done, 1) * (state.max_steps - state.global_step), self._max_seconds)
        self._run.events.add(
            "progress",
            f"Step {state.global_step} of {state.max_steps}",
            stage="train",
            step=state.global_step,
            total=state.max_steps,
            loss=_number(logs.get("loss")),
            eval_loss=_number(logs.get("eval_loss")),
            eta_s=left,
        )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")
        self._run.events.add(
            "checkpoint", f"Checkpoint at step {state.global_step}", step=state.global_step
        )


def _number(value: Any) -> float | None:
    return None if value is None else round(float(value), 5)
