from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from distiller.artefact import verify
from distiller.student_server.classifier import ClassifierModel
from tests.distiller.processes import KEY, Server, trainer
from tests.distiller.sdk_jobs import (
    create,
    ended,
    hyperparameters,
    rows,
    slow_rows,
    upload,
    validation,
)
from tests.fakes.tickets import as_jsonl, plain_row, program_row, tickets


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with trainer(tmp_path_factory.mktemp("trainer")) as server:
        yield server


@pytest.fixture(scope="module")
def client(service: Server) -> openai.OpenAI:
    return service.client()


class TestFiles:
    def test_a_file_is_stored_shown_and_deleted(self, client: openai.OpenAI) -> None:
        file_id = upload(client, rows(3))
        stored = client.files.retrieve(file_id)
        assert (stored.bytes, stored.purpose) == (len(rows(3)), "fine-tune")
        assert client.files.delete(file_id).deleted
        with pytest.raises(openai.NotFoundError, match=file_id):
            client.files.retrieve(file_id)

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (b"{not json", "line 7: not JSON"),
            (b"[1]", "line 7: a row must be a JSON object"),
            (b'{"messages": []}', "line 7: messages must be a list of at least two"),
            (
                b'{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": 1}]}',
                r"line 7: messages\[1\]: content must be text, not int",
            ),
            (
                b'{"messages": [{"role": "user", "content": "a"},'
                b' {"role": "user", "content": "b"}]}',
                "line 7: the last message must be the assistant's",
            ),
            (
                b'{"messages": [{"role": "user", "content": "a"},'
                b' {"role": "assistant", "content": "b"}], "split": "exam"}',
                "line 7: split must be one of train, dev, calibration, not 'exam'",
            ),
            (
                b'{"messages": [{"role": "user", "content": "a"},'
                b' {"role": "assistant", "content": "b"}], "weight": 0}',
                "line 7: weight must be a number above 0",
            ),
            (b'"\xff"', "line 7: not JSON"),
        ],
    )
    def test_a_bad_line_is_named(self, client: openai.OpenAI, line: bytes, message: str) -> None:
        with pytest.raises(openai.BadRequestError, match=message) as caught:
            upload(client, rows(6) + line + b"\n" + rows(2))
        assert caught.value.code == "invalid_training_file"

    def test_an_empty_file_and_another_purpose_are_refused(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.BadRequestError, match="no rows"):
            upload(client, b"\n")
        with pytest.raises(openai.BadRequestError, match="purpose must be 'fine-tune'"):
            client.files.create(file=("a.jsonl", rows(1)), purpose="assistants")

    def test_an_id_never_becomes_a_path(self, service: Server) -> None:
        assert service.get("/v1/files/..%2Fservice.lock").status_code == 404
        assert service.get("/v1/fine_tuning/jobs/..%2F..").status_code == 404


class TestKey:
    def test_health_is_open_and_the_rest_is_not(self, service: Server) -> None:
        assert service.get("/healthz", headers={"authorization": ""}).json() == {"ok": True}
        with pytest.raises(openai.AuthenticationError, match="key is missing or wrong"):
            service.client(key=KEY + "x").fine_tuning.jobs.list()


class TestRequests:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"model": "gpt-x"}, "base model 'gpt-x' is unknown.*'classifier', 'embedded'"),
            ({"training_file": "file-none"}, "training_file 'file-none' does not exist"),
            ({"validation_file": "file-none"}, "validation_file 'file-none' does not exist"),
            ({"method": hyperparameters(n_epoch=2)}, "'n_epoch' is unknown; did you mean 'n_epo"),
            ({"method": hyperparameters(n_epochs=-1)}, "'n_epochs' must be above 0"),
            ({"method": hyperparameters(n_epochs="two")}, "hyperparameters: Expected `int"),
            ({"method": {"type": "dpo"}}, "method.type 'dpo' is unknown"),
            ({"metadata": {"adapter": "xml"}}, "metadata.adapter must be one of chat, json"),
            ({"metadata": {"k": "v" * 600}}, "metadata takes 16 keys"),
            ({"suffix": "s" * 65}, "suffix is longer"),
            ({"seed": -1}, "seed must be within"),
        ],
    )
    def test_bad_requests_are_refused_with_the_parameter(
        self, client: openai.OpenAI, options: dict[str, Any], message: str
    ) -> None:
        options = {"model": "classifier", "training_file": upload(client, rows(2)), **options}
        with pytest.raises(openai.BadRequestError, match=message):
            client.fine_tuning.jobs.create(**options)

    def test_an_unknown_job_is_404(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.NotFoundError, match="ftjob-none"):
            client.fine_tuning.jobs.retrieve("ftjob-none")

    def test_errors_of_the_framework_have_openai_s_shape(self, service: Server) -> None:
        error = service.request("POST", "/v1/files").json()["error"]
        assert error["type"] == "invalid_request_error" and "file" in error["message"]
        assert service.get("/v1/nothing").json()["error"]["type"] == "not_found_error"
        body = service.request("POST", "/v1/fine_tuning/jobs", content=b"{").json()
        assert "no fine-tuning job" in body["error"]["message"]
        assert service.get("/v1/fine_tuning/jobs?limit=0").status_code == 400


class TestJobs:
    def test_a_job_succeeds_and_leaves_a_verified_model(
        self, client: openai.OpenAI, service: Server, tmp_path: Path
    ) -> None:
        job_id = create(
            client,
            rows(),
            validation_file=upload(client, validation()),
            suffix="shop",
            metadata={"job_key": "k1", "adapter": "plain"},
            method=hyperparameters(n_epochs="auto"),
        )
        job = ended(client, job_id)
        assert job.status == "succeeded", job.error
        assert job.fine_tuned_model == f"ft:classifier:local:shop:{job_id[-8:]}"
        assert job.finished_at >= job.created_at
        assert (job.seed, job.metadata["job_key"]) == (7, "k1")

    def test_events_are_paged_newest_first(self, client: openai.OpenAI) -> None:
        job_id = create(client, rows())
        ended(client, job_id)
        paged = list(client.fine_tuning.jobs.list_events(job_id, limit=2))
        assert len(paged) > 4
        assert len({event.id for event in paged}) == len(paged)
        assert [event.id for event in paged] == [
            event.id for event in client.fine_tuning.jobs.list_events(job_id, limit=100)
        ]
        assert paged[0].message.startswith("Trained on") and "started" in paged[-1].message
        assert any(event.type == "metrics" and event.data["eta_s"] > 0 for event in paged)
        after_unknown = client.fine_tuning.jobs.list_events(job_id, after="ftevent-none")
        assert after_unknown.data == []
        assert list(client.fine_tuning.jobs.checkpoints.list(job_id)) == []

    def test_jobs_are_listed_newest_first_and_found_by_metadata(
        self, client: openai.OpenAI
    ) -> None:
        ids = [create(client, rows(2), metadata={"group": "g", "n": str(n)}) for n in range(3)]
        found = [job.id for job in client.fine_tuning.jobs.list(metadata={"group": "g"}, limit=2)]
        assert found == ids[::-1]
        one = client.fine_tuning.jobs.list(metadata={"group": "g", "n": "1"})
        assert [job.id for job in one] == [ids[1]]
        assert client.fine_tuning.jobs.list(metadata={"group": "other"}).data == []

    @pytest.mark.slow
    @pytest.mark.long
    def test_equal_jobs_give_equal_files(self, service: Server, client: openai.OpenAI) -> None:
        manifests = []
        for _ in range(2):
            job_id = create(client, rows(), validation_file=upload(client, validation()))
            assert ended(client, job_id).status == "succeeded"
            manifests.append(verify(model_folder(service, job_id)))
        assert manifests[0] == manifests[1]

    def test_hyperparameters_may_be_at_the_top_as_dspy_sends_them(
        self, client: openai.OpenAI
    ) -> None:
        job_id = create(client, rows(40), hyperparameters={"min_rows": 30})  # type: ignore[arg-type]
        assert ended(client, job_id).status == "succeeded"


class TestRefusals:
    @pytest.mark.parametrize(
        ("data", "options", "message"),
        [
            (rows(40), {}, "needs at least 100 training rows, the file has "),
            (
                as_jsonl(
                    [
                        {**plain_row(t, "train"), "outputs": {"answer": t.text}}
                        for t in tickets(150, seed=3)
                    ]
                ),
                {},
                "output 'answer': .* value that no other row has.*pretrained base",
            ),
            (
                as_jsonl(
                    [
                        {**program_row(t, "train"), "outputs": {"intent": t.intent, "price": 1.5}}
                        for t in tickets(150, seed=3)
                    ]
                ),
                {"metadata": {"adapter": "json"}},
                "output 'price' is a number with decimals",
            ),
            (
                as_jsonl(
                    [
                        {**program_row(t, "train"), "outputs": {"intent": [t.intent]}}
                        for t in tickets(150, seed=3)
                    ]
                ),
                {"metadata": {"adapter": "json"}},
                "output 'intent' is a list",
            ),
        ],
    )
    def test_what_can_t_be_learnt_fails_with_the_reason(
        self, client: openai.OpenAI, data: bytes, options: dict[str, Any], message: str
    ) -> None:
        job = ended(client, create(client, data, **options))
        assert job.status == "failed"
        assert job.error.message and re.search(message, job.error.message)

    def test_a_missing_extra_is_refused_at_once(self, tmp_path: Path) -> None:
        with trainer(tmp_path, hidden="torch trl") as server:
            client = server.client()
            with pytest.raises(openai.BadRequestError, match=r"needs limbeck\[train\].*torch, trl"):
                create(client, rows(2), model="embedded")
            assert [model.id for model in client.models.list()] == ["classifier"]

    def test_a_job_without_enough_memory_says_so(self, tmp_path: Path) -> None:
        with trainer(tmp_path, worker_memory_mb=240) as server:
            client = server.client()
            job = ended(client, create(client, slow_rows()))
        assert (job.status, job.error.code) == ("failed", "out_of_memory")
        assert "Out of memory (limit 240 MiB)" in job.error.message

    def test_a_worker_that_can_t_be_started_fails_the_job(self, tmp_path: Path) -> None:
        with trainer(tmp_path, worker_command=["/nowhere/limbeck"]) as server:
            client = server.client()
            job = ended(client, create(client, rows(2)))
        assert (job.status, job.error.code) == ("failed", "worker_not_started")
        assert "/nowhere/limbeck" in job.error.message

    def test_a_worker_that_hangs_is_killed_and_the_queue_goes_on(self, tmp_path: Path) -> None:
        stuck = ["/bin/sh", "-c", "trap '' TERM; exec sleep 60"]
        limits = {"job_limit_s": 0.2, "kill_after_s": 0.1}
        with trainer(tmp_path, worker_command=stuck, **limits) as server:
            client = server.client()
            first, second = create(client, rows(2)), create(client, rows(2))
            for job in (ended(client, first), ended(client, second)):
                assert (job.status, job.error.code) == ("failed", "time_limit")
                assert "did not end within 0.2 s and was killed" in job.error.message

    def test_a_job_over_its_time_is_ended(self, client: openai.OpenAI) -> None:
        method = hyperparameters(max_seconds=0.01)
        job = ended(client, create(client, rows(), method=method))
        assert (job.status, job.error.code) == ("failed", "time_limit")
        assert "max_seconds" in job.error.message


def model_folder(service: Server, job_id: str) -> Path:
    folder: Path = service.settings["folder"]
    return folder / "jobs" / job_id / "model"


class TestArtefact:
    def test_rows_held_out_for_want_of_others_count_as_training_rows(
        self, service: Server, client: openai.OpenAI
    ) -> None:
        """What the dataset counted as enough is enough."""
        exact = hyperparameters(min_rows=120)
        job_id = create(client, rows(120), method=exact)
        assert ended(client, job_id).status == "succeeded"
        assert verify(model_folder(service, job_id)).trained_rows < 120

    def test_the_model_has_no_pickle_and_answers(
        self, service: Server, client: openai.OpenAI
    ) -> None:
        job_id = create(client, rows(400), validation_file=upload(client, validation()))
        assert ended(client, job_id).status == "succeeded"
        folder = model_folder(service, job_id)
        manifest = verify(folder)
        assert set(manifest.files) == {"vocabulary.json", "model.npz", "outputs.json"}
        assert b"pickle" not in (folder / "model.npz").read_bytes()
        assert manifest.temperature is not None and manifest.trained_rows == 400
        assert manifest.dev_score is not None and manifest.dev_score > 0.9
        model = ClassifierModel.load(folder)
        found = tickets(200, seed=9)
        right = sum(model.predict({"text": t.text}).values["answer"] == t.intent for t in found)
        assert right / len(found) > 0.9
