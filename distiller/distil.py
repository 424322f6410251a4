"""The durable pipeline: dataset, jobs, students, exam, chosen candidate.

`advance` is an idempotent tick that control calls again and again for each route, never twice at
once. All state is in the store, so it goes on after a crash at any point, and does nothing twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from distiller import distillations, jobs
from distiller.artefact import Adapter, ArtefactError
from distiller.choice import choose
from distiller.dataset import stored
from distiller.dataset.build import build
from distiller.dataset.rows import TrainingFiles, training_files
from distiller.dataset.values import Dataset, Outcome, Split
from distiller.distillations import Distillation, DistilSettings, Stage
from distiller.exam import TEACHER, ExamResult, examine_teacher, mark
from distiller.fine_tuning import TrainerUnavailable
from distiller.happenings import Clients, Event, Happening
from distiller.jobs import Job
from distiller.publishing import StudentRow, publish_job, students_made
from distiller.sitting import Sitting
from distiller.trainers import choose_trainers, cost_rank, job_settings
from distiller.unseen import unseen_rows
from programs.errors import ProgramError
from traces.store import Store

#: seconds without any reply after which an exam does without the rows that nobody answered
_EXAM_PATIENCE_S = 900.0

#: distillation -> the exam that is under way; whoever calls `advance` keeps it between the ticks
Sittings = dict[str, Sitting]


async def advance(
    store: Store, clients: Clients, sittings: Sittings, route: str, *, now: float
) -> list[Happening]:
    """Bring the distillation of ``route`` one step further; returns what happened.

    An examining step lasts as long as one candidate's exam; the others are short.
    """
    happened: list[Happening] = []
    for distillation in await asyncio.to_thread(distillations.unfinished, store, route):
        happened += await _Tick(store, clients, sittings, distillation, now).take()
    return happened


class _Tick:
    """One step of one distillation."""

    def __init__(
        self,
        store: Store,
        clients: Clients,
        sittings: Sittings,
        distillation: Distillation,
        now: float,
    ) -> None:
        self._store = store
        self._clients = clients
        self._sittings = sittings
        self._distillation = distillation
        self._settings: DistilSettings = distillation.asked
        self._now = now

    async def take(self) -> list[Happening]:
        steps = {
            Stage.REQUESTED: self._freeze,
            Stage.FROZEN: self._open_jobs,
            Stage.TRAINING: self._train,
            Stage.PUBLISHING: self._publish,
            Stage.EXAMINING: self._examine,
        }
        try:
            return await steps[self._distillation.stage]()
        except (TrainerUnavailable, ProgramError) as error:
            # A metric that can't be loaded is repaired some day, and the exam goes on.
            return [self._told(Event.WAITING, str(error))]
        except stored.DatasetError as error:
            return await self._end(str(error))

    async def _freeze(self) -> list[Happening]:
        outcome = await asyncio.to_thread(self._build)
        if not isinstance(outcome, Dataset):
            return await self._end(outcome.reason)
        await asyncio.to_thread(self._save, outcome)
        told = [self._told(Event.DATASET, _contents(outcome), about=outcome.dataset_id)]
        warnings = outcome.funnel.warnings
        return told + [self._told(Event.DATASET, warning) for warning in warnings]

    def _build(self) -> Outcome:
        return build(stored.read_traces(self._store, self._settings.spec), self._settings.spec)

    def _save(self, dataset: Dataset) -> None:
        with self._store.transaction():
            stored.save(self._store, dataset, now=self._now)
            self._move(stage=Stage.FROZEN, dataset_id=dataset.dataset_id)

    async def _open_jobs(self) -> list[Happening]:
        offered = await self._clients.trainer.offered()
        dataset = await self._dataset()
        train_rows = dataset.funnel.rows[Split.TRAIN]
        trainers = choose_trainers(self._settings, offered, train_rows)
        if not trainers.chosen:
            return await self._end(f"no trainer can be asked: {'; '.join(trainers.left_out)}")
        await asyncio.to_thread(self._write_jobs, dataset, trainers.chosen)
        return [
            *(self._told(Event.JOB, f"training {name}", about=name) for name in trainers.chosen),
            *(self._told(Event.JOB, f"left out: {reason}") for reason in trainers.left_out),
        ]

    def _write_jobs(self, dataset: Dataset, trainers: Sequence[str]) -> None:
        with self._store.transaction():
            for trainer in trainers:
                jobs.open_job(
                    self._store,
                    distillation_id=self._distillation.distillation_id,
                    route=self._distillation.route,
                    predictor=dataset.predictor,
                    dataset_id=dataset.dataset_id,
                    trainer=trainer,
                    settings=job_settings(self._settings, trainer),
                    now=self._now,
                )
            self._move(stage=Stage.TRAINING)

    async def _train(self) -> list[Happening]:
        happened: list[Happening] = []
        present: list[Job] = []
        for before in await self._jobs():
            try:
                after = await jobs.tick(
                    self._store, self._clients.trainer, before, self._files, now=self._now
                )
            except TrainerUnavailable as error:
                # The other jobs go on: one lost answer says nothing about them.
                after = before
                happened.append(self._told(Event.WAITING, str(error), about=before.trainer))
            if (after.status, _tenths(after)) != (before.status, _tenths(before)):
                happened.append(self._told_job(after))
            present.append(after)
        if not all(job.final for job in present):
            return happened
        if any(job.status == "succeeded" for job in present):
            await asyncio.to_thread(self._move, stage=Stage.PUBLISHING)
            return happened
        return happened + await self._end(f"no student was trained: {_reasons(present)}")

    async def _files(self, adapter: Adapter) -> TrainingFiles:
        return await training_files(
            await self._dataset(),
            adapter,
            program=self._settings.program,
            render=self._clients.render,
        )

    async def _publish(self) -> list[Happening]:
        dataset = await self._dataset()
        made = {student.job_id for student in await self._students()}
        happened: list[Happening] = []
        for job in await self._jobs():
            if job.status == "succeeded" and job.job_id not in made:
                happened.append(await self._publish_one(job, dataset))
        if not await self._students():
            why = _reasons(await self._jobs())
            return happened + await self._end(f"no student could be published: {why}")
        await asyncio.to_thread(self._move, stage=Stage.EXAMINING)
        return happened

    async def _publish_one(self, job: Job, dataset: Dataset) -> Happening:
        publish = partial(
            publish_job,
            self._store,
            job,
            dataset,
            trained=self._clients.trained,
            students=self._clients.students,
            now=self._now,
        )
        try:
            student = await asyncio.to_thread(publish)
        except ArtefactError as error:
            return self._told_job(await jobs.fail(self._store, job, str(error), now=self._now))
        message = f"student {student.student} of {job.trainer} is published"
        return self._told(Event.STUDENT, message, about=student.student)

    async def _examine(self) -> list[Happening]:
        """Examine the next candidate; when all have been, choose."""
        dataset = await self._dataset()
        students = {student.student: student for student in await self._students()}
        results = await asyncio.to_thread(
            distillations.exams_of, self._store, self._distillation.distillation_id
        )
        previous = self._settings.previous
        candidates = [TEACHER, *students, *([previous] if previous else [])]
        unexamined = next((name for name in candidates if name not in results), None)
        if unexamined is not None:
            return [await self._examine_one(unexamined, dataset, students.get(unexamined), results)]
        ordered = sorted(students.values(), key=lambda student: cost_rank(student.trainer))
        choice = choose(
            [results[student.student] for student in ordered],
            teacher=results[TEACHER],
            previous=results[previous] if previous else None,
        )
        return await self._end(choice.reason, chosen=choice.candidate)

    async def _examine_one(
        self,
        candidate: str,
        dataset: Dataset,
        student: StudentRow | None,
        results: dict[str, ExamResult],
    ) -> Happening:
        rows, route = dataset.split(Split.EXAM), self._distillation.route
        if candidate == self._settings.previous:
            rows = await asyncio.to_thread(unseen_rows, self._store, dataset, candidate)
        score = partial(self._clients.score, route)
        if candidate == TEACHER:
            result = await examine_teacher(rows, score)
        else:
            sitting = self._sitting(candidate)
            await sitting.ask(
                rows,
                partial(self._clients.ask, route, candidate),
                concurrency=self._settings.exam_concurrency,
                now=self._now,
            )
            waiting = len(sitting.waiting(rows))
            if waiting and self._now - (sitting.vain_since or self._now) < _EXAM_PATIENCE_S:
                message = f"{candidate} did not answer {waiting} of {len(rows)} exam rows"
                return self._told(Event.WAITING, message, about=candidate)
            trainer = student.trainer if student else None
            result = await mark(candidate, rows, sitting.replies, score, trainer=trainer)
        save = partial(distillations.save_exam, teacher=results.get(TEACHER, result), now=self._now)
        await asyncio.to_thread(save, self._store, self._distillation, result)
        return self._told(Event.EXAM, _figures(result, results.get(TEACHER)), about=candidate)

    def _sitting(self, candidate: str) -> Sitting:
        """The candidate's exam so far."""
        key = self._distillation.distillation_id
        sitting = self._sittings.get(key)
        if sitting is None or sitting.candidate != candidate:
            sitting = self._sittings[key] = Sitting(candidate)
        return sitting

    async def _dataset(self) -> Dataset:
        return await asyncio.to_thread(
            stored.load, self._store, self._distillation.dataset_id or ""
        )

    async def _jobs(self) -> list[Job]:
        return await asyncio.to_thread(
            jobs.jobs_of, self._store, self._distillation.distillation_id
        )

    async def _students(self) -> list[StudentRow]:
        return await asyncio.to_thread(
            students_made, self._store, self._distillation.distillation_id
        )

    async def _end(self, reason: str, *, chosen: str | None = None) -> list[Happening]:
        await asyncio.to_thread(self._move, stage=Stage.ENDED, chosen=chosen, reason=reason)
        self._sittings.pop(self._distillation.distillation_id, None)
        return [self._told(Event.ENDED, reason, about=chosen)]

    def _move(self, **known: object) -> None:
        self._distillation = distillations.move(
            self._store, self._distillation, now=self._now, **known
        )

    def _told(
        self, event: Event, message: str, *, about: str | None = None, progress: float | None = None
    ) -> Happening:
        return Happening(
            distillation_id=self._distillation.distillation_id,
            route=self._distillation.route,
            event=event,
            message=message,
            about=about,
            progress=progress,
        )

    def _told_job(self, job: Job) -> Happening:
        said = [job.status]
        if job.progress is not None and not job.final:
            said.append(f"{job.progress:.0%}")
        if job.error:
            said.append(job.error)
        message = f"{job.trainer}: {', '.join(said)}"
        return self._told(Event.JOB, message, about=job.trainer, progress=job.progress)


def _tenths(job: Job) -> int | None:
    """Progress in steps that are worth telling."""
    return None if job.progress is None else int(job.progress * 10)


def _contents(dataset: Dataset) -> str:
    funnel = dataset.funnel
    rows = ", ".join(f"{n} {split}" for split, n in funnel.rows.items())
    sources = ", ".join(f"{n} {source}" for source, n in funnel.sources.items())
    dropped = ", ".join(f"{n} {reason}" for reason, n in funnel.dropped.items()) or "nothing"
    return f"{rows} rows of {funnel.traces} traces (train: {sources}); dropped: {dropped}"


def _reasons(present: Sequence[Job]) -> str:
    return "; ".join(f"{job.trainer}: {job.error or job.status}" for job in present)


def _figures(result: ExamResult, teacher: ExamResult | None) -> str:
    summary = result.summary(teacher or result)
    failed, unanswered = sum(result.failures.values()), sum(result.unanswered.values())
    said = "not scored"
    if summary.score is not None:
        said = f"{summary.score:.3f} [{summary.low:.3f}, {summary.high:.3f}]"
    gap = f", smallest gap it could see {summary.smallest_gap:.3f}" if teacher else ""
    without = f"{failed} failed" + (f", {unanswered} unanswered" if unanswered else "")
    return f"{result.candidate}: {said} on {summary.n} of {result.rows} rows, {without}{gap}"
