"""Jobs outlive their worker and their service."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import openai
import pytest

from tests.distiller.processes import Server, free_port, refusal, trainer
from tests.distiller.sdk_jobs import ENDED, create, ended, rows, slow_rows, upload
from tests.polling import until


class TestRestarts:
    def test_a_cancelled_job_stays_cancelled(self, tmp_path: Path) -> None:
        with trainer(tmp_path) as server:
            client = server.client()
            running = create(client, slow_rows())
            queued = create(client, rows())
            until(lambda: is_fitting(client, running), seconds=30, what="the fit")
            assert client.fine_tuning.jobs.cancel(queued).status == "cancelled"
            assert client.fine_tuning.jobs.cancel(running).status == "cancelled"
            assert client.fine_tuning.jobs.cancel(running).status == "cancelled"
            after = create(client, rows())
            assert ended(client, after).status == "succeeded"
            with pytest.raises(openai.BadRequestError, match="has succeeded already"):
                client.fine_tuning.jobs.cancel(after)
        with trainer(tmp_path) as server:
            assert server.client().fine_tuning.jobs.retrieve(running).status == "cancelled"

    @pytest.mark.slow
    @pytest.mark.long
    def test_a_killed_worker_is_started_again(self, tmp_path: Path) -> None:
        with trainer(tmp_path) as server:
            client = server.client()
            job_id = create(client, slow_rows())
            os.kill(worker_of(server), signal.SIGKILL)
            messages = until(
                lambda: [m for m in texts(client, job_id) if "killed by SIGKILL" in m],
                what="the crash to be noticed",
            )
            assert "it is started again" in messages[0]
            assert ended(client, job_id, seconds=120).status == "succeeded"

    def test_a_job_whose_worker_keeps_dying_fails(self, tmp_path: Path) -> None:
        with trainer(tmp_path) as server:
            client = server.client()
            job_id = create(client, slow_rows())
            killed: set[int] = set()
            while client.fine_tuning.jobs.retrieve(job_id).status not in ENDED:
                pid = worker_of(server, unless=killed, job=job_id, client=client)
                if pid:
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
            job = client.fine_tuning.jobs.retrieve(job_id)
            assert (job.status, job.error.code) == ("failed", "worker_crashed")
            assert "SIGKILL (out of memory?), 3 times" in job.error.message

    @pytest.mark.slow
    @pytest.mark.long
    def test_a_killed_service_leaves_no_worker_and_resumes(self, tmp_path: Path) -> None:
        with trainer(tmp_path) as server:
            client = server.client()
            job_id = create(client, slow_rows())
            until(lambda: is_fitting(client, job_id), seconds=30, what="the fit")
            worker = worker_of(server)
            server.kill()
        until(lambda: not alive(worker), what="the end of the orphan")
        with trainer(tmp_path) as server:
            client = server.client()
            assert ended(client, job_id, seconds=120).status == "succeeded"
            assert any("stopped; the job resumes" in text for text in texts(client, job_id))

    @pytest.mark.slow
    @pytest.mark.long
    def test_a_stopped_service_ends_with_0_and_resumes(self, tmp_path: Path) -> None:
        with trainer(tmp_path) as server:
            job_id = create(server.client(), slow_rows())
            until(lambda: is_fitting(server.client(), job_id), seconds=30, what="the fit")
            assert server.stop() == 0
        with trainer(tmp_path) as server:
            assert ended(server.client(), job_id, seconds=120).status == "succeeded"

    def test_what_an_upload_left_that_was_killed_goes_at_the_next_start(
        self, tmp_path: Path
    ) -> None:
        with trainer(tmp_path) as server:
            file_id = upload(server.client(), rows(3))
            server.kill()
        left = tmp_path / "files" / ".file-0123"
        left.write_bytes(rows(1))
        with trainer(tmp_path) as server:
            assert server.client().files.retrieve(file_id).bytes == len(rows(3))
            assert not left.exists()

    def test_two_services_can_t_share_a_folder_or_a_port(self, tmp_path: Path) -> None:
        with trainer(tmp_path / "a") as server:
            said = refusal("trainer", folder=tmp_path / "a", port=free_port())
            assert f"another training service works in {tmp_path / 'a'}" in said
            said = refusal("trainer", folder=tmp_path / "b", port=server.port)
            assert f"127.0.0.1:{server.port} is in use by another process" in said

    def test_a_service_without_a_key_does_not_start(self, tmp_path: Path) -> None:
        said = refusal("trainer", key="", folder=tmp_path, port=free_port())
        assert "LIMBECK_INTERNAL_KEY must hold the server's key" in said


def texts(client: openai.OpenAI, job_id: str) -> list[str]:
    return [event.message for event in client.fine_tuning.jobs.list_events(job_id, limit=100)]


def is_fitting(client: openai.OpenAI, job_id: str) -> bool:
    return any(text.startswith("Fitting") for text in texts(client, job_id))


def worker_of(
    server: Server,
    *,
    unless: set[int] = frozenset(),  # type: ignore[assignment]
    job: str | None = None,
    client: openai.OpenAI | None = None,
) -> int:
    """The pid of the service's child, once there is one; 0 if the job ends first."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")

    def look() -> int | None:
        if job and client and client.fine_tuning.jobs.retrieve(job).status in ENDED:
            return -1
        return next((pid for pid in map(int, children.read_text().split()) if pid not in unless), 0)

    return max(until(look, seconds=30, what="a training worker") or 0, 0)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return b"Z" not in Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2][:3]
