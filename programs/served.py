"""The programs that one host serves, by model name: the teacher, or any student of the route."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from programs import dspy_compat
from programs.dspy_compat import Program
from programs.errors import LoadError, StaleStudent, UnknownModel
from programs.settings import HostSettings
from programs.student_files import list_students, read_student


@dataclass(frozen=True, kw_only=True)
class Served:
    """One model of a program host."""

    program: Program
    #: the version of the teacher that this is, or that the student learnt from
    program_version: str
    #: ``teacher`` or the student's id
    side: str


class ServedPrograms(Protocol):
    """What a host can answer with."""

    def models(self) -> list[str]: ...

    async def get(self, model: str) -> Served:
        """Return a model. Raises `UnknownModel`, `StaleStudent` or `LoadError`."""
        ...

    def main(self) -> Program:
        """Return the program as the user wrote it."""
        ...


class TeacherSide:
    """Serves ``ROUTE@teacher``, loaded at the start."""

    def __init__(self, settings: HostSettings) -> None:
        lm = dspy_compat.teacher_lm(settings.lm)
        self._name = f"{settings.route}@teacher"
        program = dspy_compat.load_teacher(settings.factory, lm, settings.user_dir)
        version = program.description.program_version
        self._served = Served(program=program, program_version=version, side="teacher")

    def models(self) -> list[str]:
        return [self._name]

    async def get(self, model: str) -> Served:
        if model != self._name:
            raise UnknownModel(f'this host serves "{self._name}", not "{model}"')
        return self._served

    def main(self) -> Program:
        return self._served.program


class StudentSide:
    """Serves ``ROUTE@ID`` for each student of the folder, loaded at its first request.

    A student is immutable, so what was loaded (or was stale) once stays so.
    """

    def __init__(self, settings: HostSettings, *, key: str) -> None:
        if settings.students is None or settings.student_server is None:
            raise LoadError("the student side needs the students' folder and the student server")
        self._settings = settings
        self._students = settings.students
        self._server = settings.student_server
        self._key = key
        self._lm = dspy_compat.teacher_lm(settings.lm)
        self._main = dspy_compat.load_teacher(settings.factory, self._lm, settings.user_dir)
        self._loaded: dict[str, Served | StaleStudent] = {}
        # Invariant of the lock: a student is loaded once.
        self._lock = asyncio.Lock()

    def models(self) -> list[str]:
        route = self._settings.route
        return [f"{route}@{student}" for student in list_students(self._students, route)]

    async def get(self, model: str) -> Served:
        route, at, student = model.rpartition("@")
        if not at or route != self._settings.route or student == "teacher":
            raise UnknownModel(
                f'this host serves students "{self._settings.route}@ID", not "{model}"'
            )
        async with self._lock:
            if student not in self._loaded:
                self._loaded[student] = await _outside_of_tasks(lambda: self._load(student))
        found = self._loaded[student]
        if isinstance(found, StaleStudent):
            raise StaleStudent(str(found))
        return found

    def main(self) -> Program:
        return self._main

    def _load(self, student: str) -> Served | StaleStudent:
        files = read_student(self._students, self._settings.route, student)
        try:
            program = dspy_compat.load_student(
                self._settings.factory,
                self._lm,
                self._settings.user_dir,
                files,
                server=self._server,
                key=self._key,
            )
        except StaleStudent as stale:
            return stale
        return Served(program=program, program_version=files.map.program_version, side=student)


async def _outside_of_tasks(load: Callable[[], Served | StaleStudent]) -> Served | StaleStudent:
    """Run ``load`` in this thread but in no task: else a factory may not call `dspy.configure`."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Served | StaleStudent] = loop.create_future()

    def run() -> None:
        try:
            done.set_result(load())
        except Exception as error:
            done.set_exception(error)

    loop.call_soon(run)
    return await done
