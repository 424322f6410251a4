"""Fine-tuning jobs of a test, asked for with openai's SDK."""

from __future__ import annotations

from typing import Any

import openai

from tests.fakes.tickets import as_jsonl, plain_row, tickets
from tests.polling import until

ENDED = {"succeeded", "failed", "cancelled"}


def rows(count: int = 240, *, seed: int = 1) -> bytes:
    return as_jsonl([plain_row(ticket, "train") for ticket in tickets(count, seed=seed)])


def validation(seed: int = 2) -> bytes:
    found = tickets(120, seed=seed)
    dev = [plain_row(ticket, "dev") for ticket in found[:60]]
    return as_jsonl(dev + [plain_row(ticket, "calibration") for ticket in found[60:]])


def upload(client: openai.OpenAI, data: bytes) -> str:
    return client.files.create(file=("rows.jsonl", data), purpose="fine-tune").id


def create(client: openai.OpenAI, data: bytes, **options: Any) -> str:
    options = {"model": "classifier", "seed": 7, **options}
    return client.fine_tuning.jobs.create(training_file=upload(client, data), **options).id


def ended(client: openai.OpenAI, job_id: str, *, seconds: float = 60) -> Any:
    def look() -> Any:
        job = client.fine_tuning.jobs.retrieve(job_id)
        return job if job.status in ENDED else None

    return until(look, seconds=seconds, what=f"the end of job {job_id}")


def hyperparameters(**values: Any) -> dict[str, Any]:
    return {"type": "supervised", "supervised": {"hyperparameters": values}}


def slow_rows() -> bytes:
    """Enough classes and rows for a fit of some seconds."""
    found = tickets(1500, seed=4)
    numbered = [
        ticket._replace(intent=f"{ticket.intent}-{number % 15}")
        for number, ticket in enumerate(found)
    ]
    return as_jsonl([plain_row(ticket, "train") for ticket in numbered])
