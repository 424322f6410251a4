"""OpenAI's fine-tuning objects, as clients see them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from distiller.trainer.events import Event
from distiller.trainer.job_folder import Job
from distiller.trainer.jobs import JobState

T = TypeVar("T")
Shape = dict[str, Any]

_LEVELS = {"failed": "error", "crashed": "warn", "interrupted": "warn", "cancelled": "warn"}
_NUMBERS = ("stage", "step", "total", "loss", "eval_loss", "eta_s")


def job_shape(state: JobState) -> Shape:
    """Return ``fine_tuning.job``."""
    job, events, status = state
    last = events[-1] if events else None
    ended = last if status in ("succeeded", "failed", "cancelled") else None
    error = None
    if status == "failed" and last is not None:
        error = {"code": last.code or "training_failed", "message": last.message, "param": None}
    return {
        "id": job.id,
        "object": "fine_tuning.job",
        "created_at": int(job.created),
        "model": job.base,
        "status": status,
        "training_file": job.training_file,
        "validation_file": job.validation_file,
        "seed": job.seed,
        "organization_id": "local",
        "result_files": [],
        "hyperparameters": _hyperparameters(job),
        "method": {
            "type": "supervised",
            "supervised": {"hyperparameters": _hyperparameters(job)},
        },
        "metadata": job.metadata,
        "user_provided_suffix": job.suffix,
        "fine_tuned_model": job.fine_tuned_model if status == "succeeded" else None,
        "finished_at": int(ended.time) if ended else None,
        "estimated_finish": _estimated_finish(events) if status == "running" else None,
        "trained_tokens": last.trained_tokens if last else None,
        "error": error,
    }


def event_shapes(state: JobState) -> list[Shape]:
    """Return the job's events, newest first."""
    return [
        {
            "id": f"ftevent-{state.job.id[6:]}-{number}",
            "object": "fine_tuning.job.event",
            "created_at": int(event.time),
            "level": _LEVELS.get(event.type, "info"),
            "type": "metrics" if event.step is not None else "message",
            "message": event.message,
            "data": _data(event),
        }
        for number, event in enumerate(state.events)
    ][::-1]


def checkpoint_shapes(state: JobState) -> list[Shape]:
    """Return the job's checkpoints, newest first."""
    return [
        {
            "id": f"ftckpt-{state.job.id[6:]}-{number}",
            "object": "fine_tuning.job.checkpoint",
            "created_at": int(event.time),
            "fine_tuned_model_checkpoint": f"{state.job.fine_tuned_model}:step-{event.step}",
            "fine_tuning_job_id": state.job.id,
            "step_number": event.step or 0,
            "metrics": {"step": event.step, "train_loss": event.loss},
        }
        for number, event in enumerate(state.events)
        if event.type == "checkpoint"
    ][::-1]


def page(
    items: Sequence[T], *, id_of: Callable[[T], str], after: str | None, limit: int
) -> tuple[Sequence[T], bool]:
    """Return the items behind ``after`` and whether more follow.

    An unknown ``after`` gives an empty page: starting again would page a client for ever.
    """
    start = 0
    if after is not None:
        ids = [id_of(item) for item in items]
        start = ids.index(after) + 1 if after in ids else len(items)
    return items[start : start + limit], len(items) > start + limit


def list_shape(data: Sequence[Shape], *, has_more: bool) -> Shape:
    return {"object": "list", "data": list(data), "has_more": has_more}


def _hyperparameters(job: Job) -> Shape:
    values = msgspec.structs.asdict(job.hyperparameters)
    return {name: "auto" if value is None else value for name, value in values.items()}


def _data(event: Event) -> Shape:
    data = {name: getattr(event, name) for name in _NUMBERS if getattr(event, name) is not None}
    return {"event": event.type, **data}


def _estimated_finish(events: Sequence[Event]) -> int | None:
    for event in reversed(events):
        if event.eta_s is not None:
            return int(event.time + event.eta_s)
    return None
