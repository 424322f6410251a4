"""Reads what the program host needs of a student's folder (``students/ROUTE@ID``).

The distiller writes these folders. This package must not import it, so the few fields that the
host needs are named here again; fields that it does not know are ignored.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import quote

import msgspec

from programs.errors import LoadError, UnknownModel

Adapter = Literal["chat", "json"]
T = TypeVar("T")
_FILE = "student.json"


class Skeleton(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a rendered prompt that do not depend on the inputs."""

    #: SHA-256 (hex) of the system text; None: it varied in training and binds nothing
    system_sha256: str | None = None
    #: constant lines of the other messages, sorted
    lines: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The part of ``PREDICTOR/manifest.json`` that binds a student to its prompt."""

    skeleton: Skeleton


class ServedPredictor(msgspec.Struct, frozen=True, kw_only=True):
    """One predictor that the student answers."""

    #: the name that the student server knows
    served_model: str
    adapter: Adapter
    #: outputs that the student does not give
    drop: tuple[str, ...] = ()


class StudentMap(msgspec.Struct, frozen=True, kw_only=True):
    """The part of ``student.json`` that says who answers which predictor."""

    route: str
    student: str
    program_version: str
    predictors: dict[str, ServedPredictor]


class StudentFiles(msgspec.Struct, frozen=True, kw_only=True):
    """A student, with the prompt skeleton of each of its predictors."""

    map: StudentMap
    skeletons: dict[str, Skeleton]


def read_student(students: Path, route: str, student: str) -> StudentFiles:
    """Read one student. Raises `UnknownModel` or `LoadError`."""
    folder = students / quote(f"{route}@{student}", safe="@")
    # Not Path.is_file: a name that is too long for a file raises there.
    if not os.path.isfile(folder / _FILE):
        raise UnknownModel(f'there is no student "{route}@{student}" in {students}')
    found = _decode(folder / _FILE, StudentMap)
    if (found.route, found.student) != (route, student):
        raise LoadError(f"{folder / _FILE} belongs to {found.route}@{found.student}")
    skeletons = {
        name: _decode(folder / quote(name, safe="") / "manifest.json", Manifest).skeleton
        for name in found.predictors
    }
    return StudentFiles(map=found, skeletons=skeletons)


def list_students(students: Path, route: str) -> list[str]:
    """Return the ids of the route's students, sorted by name."""
    prefix = quote(f"{route}@", safe="@")
    folders = [path.parent.name for path in students.glob(f"*/{_FILE}")]
    return sorted(name.removeprefix(prefix) for name in folders if name.startswith(prefix))


def _decode(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise LoadError(f"{path} cannot be read: {error}; publish the student again") from error
