from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from distiller.artefact import Adapter
from distiller.dataset.rows import RenderError, TrainingFiles
from distiller.fine_tuning import FineTuning, TrainerUnavailable
from distiller.jobs import Job, JobSettings, jobs_of, open_job, recent_jobs, tick
from tests.fakes.fine_tuning import FakeTrainer, fake_trainer
from traces.store import Store

NOW = 1_760_000_000.0
FILES = TrainingFiles(train=b'{"n":1}\n', validation=b'{"n":2}\n', drop=("reasoning",))


@pytest.fixture
def trainer() -> Iterator[FakeTrainer]:
    with fake_trainer() as fake:
        yield fake


@pytest.fixture
async def service(trainer: FakeTrainer) -> AsyncIterator[FineTuning]:
    service = FineTuning.local(trainer.url, "key")
    yield service
    await service.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "limbeck.duckdb")
    open_one(store, "classifier")
    yield store
    store.close()


def open_one(store: Store, trainer: str) -> None:
    open_job(
        store,
        distillation_id="x-1",
        route="tickets",
        predictor="answer",
        dataset_id="d-1",
        trainer=trainer,
        settings=JobSettings(adapter="plain", hyperparameters={"min_rows": 7}),
        now=NOW,
    )


def stored(store: Store) -> Job:
    (job,) = jobs_of(store, "x-1")
    return job


async def files(adapter: Adapter) -> TrainingFiles:
    assert adapter == "plain"
    return FILES


async def step(store: Store, service: FineTuning) -> Job:
    """One tick, on the job as the store has it; the answer must be what is stored."""
    job = await tick(store, service, stored(store), files, now=NOW + 1)
    assert stored(store) == job
    return job


async def test_a_job_from_row_to_model(
    store: Store, trainer: FakeTrainer, service: FineTuning
) -> None:
    assert stored(store).status == "new"
    job = await step(store, service)
    assert job.status == "queued"
    assert job.asked_with.drop == ("reasoning",)
    (created,) = trainer.jobs
    assert created["metadata"] == {
        "job_key": job.job_key,
        "route": "tickets",
        "predictor": "answer",
        "adapter": "plain",
    }
    assert created["method"]["supervised"]["hyperparameters"] == {"min_rows": 7}
    assert trainer.files[created["training_file"]] == FILES.train
    assert trainer.files[created["validation_file"]] == FILES.validation

    trainer.jobs[0]["status"] = "running"
    trainer.tell(created["id"], step=3, total=4)
    assert (await step(store, service)).progress == 0.75
    assert [event.message for event in await service.events(created["id"])] == ["step 3 of 4"]

    trainer.finish()
    job = await step(store, service)
    assert (job.status, job.progress) == ("succeeded", 1.0)
    assert job.fine_tuned_model == f"ft:classifier:local:{job.job_id}:0000"
    asked = len(trainer.log)
    assert await step(store, service) == job
    assert len(trainer.log) == asked
    assert recent_jobs(store, "tickets") == recent_jobs(store) == [job]


@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        *((operation, "lose") for operation in ("upload", "list", "create", "retrieve", "events")),
        *(("create", status) for status in (401, 429, 500)),
    ],
)
async def test_no_fault_of_the_network_fails_a_job_or_makes_a_second_one(
    store: Store, trainer: FakeTrainer, service: FineTuning, operation: str, fault: int | str
) -> None:
    trainer.faults[operation] = [fault]
    with pytest.raises(TrainerUnavailable):
        await step(store, service)
    assert stored(store).error is None
    job = await step(store, service)
    assert job.status == "queued"
    assert len(trainer.jobs) == 1


@pytest.mark.parametrize("ignores_filter", [False, True])
async def test_our_job_is_found_among_others_page_by_page(
    store: Store, trainer: FakeTrainer, service: FineTuning, ignores_filter: bool
) -> None:
    trainer.ignores_filter = ignores_filter
    trainer.faults["create"] = ["lose"]
    with pytest.raises(TrainerUnavailable):
        await step(store, service)
    for number in range(7):
        metadata = {"job_key": f"other {number}"}
        trainer.jobs.append({**trainer.jobs[0], "id": f"ftjob-other{number}", "metadata": metadata})
    job = await step(store, service)
    assert job.provider_job_id == "ftjob-0000"
    assert len(trainer.jobs) == 8


async def test_an_upload_that_was_stored_is_not_repeated(
    store: Store, trainer: FakeTrainer, service: FineTuning
) -> None:
    trainer.faults["list"] = [500]
    with pytest.raises(TrainerUnavailable):
        await step(store, service)
    await step(store, service)
    assert trainer.log.count("upload") == 2


async def test_without_rows_to_validate_on_no_file_of_them_is_sent(
    store: Store, trainer: FakeTrainer, service: FineTuning
) -> None:
    async def no_validation(adapter: Adapter) -> TrainingFiles:
        return msgspec.structs.replace(FILES, validation=b"")

    trainer.faults["list"] = [500]
    with pytest.raises(TrainerUnavailable):
        await tick(store, service, stored(store), no_validation, now=NOW + 1)
    job = await step(store, service)
    assert job.status == "queued"
    (created,) = trainer.jobs
    assert "validation_file" not in created
    assert trainer.files == {created["training_file"]: FILES.train}


@pytest.mark.parametrize("operation", ["upload", "create"])
async def test_what_the_trainer_refuses_fails_with_its_words(
    store: Store, trainer: FakeTrainer, service: FineTuning, operation: str
) -> None:
    trainer.faults[operation] = [400]
    job = await step(store, service)
    assert (job.status, job.error) == ("failed", "the trainer answers 400: asked for")


async def test_a_job_that_the_trainer_lost_fails(
    store: Store, trainer: FakeTrainer, service: FineTuning
) -> None:
    await step(store, service)
    trainer.jobs.clear()
    job = await step(store, service)
    assert job.status == "failed"
    assert "there is no job ftjob-0000" in (job.error or "")


async def test_a_refused_job_says_why(
    store: Store, trainer: FakeTrainer, service: FineTuning
) -> None:
    await step(store, service)
    trainer.refused["classifier"] = "output 'answer' is free text"
    trainer.finish()
    job = await step(store, service)
    assert (job.status, job.error) == ("failed", "output 'answer' is free text")


async def test_rows_that_can_not_be_rendered_fail_the_job(
    store: Store, service: FineTuning, trainer: FakeTrainer
) -> None:
    async def broken(adapter: Adapter) -> TrainingFiles:
        raise RenderError("the program has no predictor 'classify'")

    job = await tick(store, service, stored(store), broken, now=NOW)
    assert (job.status, job.error) == ("failed", "the program has no predictor 'classify'")
    assert trainer.jobs == []


async def test_a_trainer_that_is_not_there_is_waited_for(store: Store) -> None:
    service = FineTuning.local("http://127.0.0.1:9/v1", "key")
    with pytest.raises(TrainerUnavailable, match="can't be reached"):
        await tick(store, service, stored(store), files, now=NOW)
    await service.close()
    assert stored(store).status == "new"


async def test_each_trainer_of_a_distillation_has_its_own_key(store: Store) -> None:
    open_one(store, "embedded")
    assert len({job.job_key for job in jobs_of(store, "x-1")}) == 2
